package cellinit

import "syscall"

// spawn starts the program and returns its pid and pidfd. It runs on the
// process's first thread, which wears what the program is to inherit and is
// not given back: later forks would start from the same restrictions.
func spawn(p Program) (pid, pidfd int, at Stage, errno syscall.Errno) {
	for _, limit := range p.Limits {
		if errno := setLimit(limit.Resource, limit.Max); errno != 0 {
			return 0, -1, StageLimits, errno
		}
	}
	null, err := syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, -1, StageExec, errnoOf(err)
	}
	defer syscall.Close(null)
	if p.Deadline > 0 {
		timer, errno := deadlineTimer(p.Deadline)
		if errno != 0 {
			return 0, -1, StageDeadline, errno
		}
		go expire(timer)
	}
	// Changed here and not in the child, whose one errno could not be told
	// from that of the exec.
	if err := syscall.Chdir(p.Dir); err != nil {
		return 0, -1, StageWorkdir, errnoOf(err)
	}
	path, errno := lookup(p.Argv[0], p.Search)
	if errno != 0 {
		return 0, -1, StageLookup, errno
	}
	if errno := p.restrict(); errno != 0 {
		return 0, -1, StagePrivileges, errno
	}
	unblockSignals()
	syscall.Umask(0o022)
	// A session of its own: what it sends to its process group is not for
	// PID 1, and no terminal of the caller's is within reach.
	sys := &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if p.User != nil {
		sys.Credential = &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID}
	}
	files := []uintptr{0, 1, 2}
	if p.NullInput {
		files[0] = uintptr(null)
	}
	pid, err = syscall.ForkExec(path, p.Argv, &syscall.ProcAttr{Env: p.Env, Files: files, Sys: sys})
	// The child shared this memory until its exec, and what that does to
	// its credentials may have set the flag.
	prctl(prSetDumpable, 0, 0)
	if err != nil {
		return 0, -1, StageExec, errnoOf(err)
	}
	if p.User != nil {
		if errno := keepCapabilities(capKill); errno != 0 {
			syscall.Exit(ExitFailed)
		}
	}
	// The pipes end when the workload's last copy of them does.
	for fd := range 3 {
		if err := syscall.Dup3(null, fd, 0); err != nil {
			syscall.Exit(ExitFailed)
		}
	}
	return pid, pidfd, 0, 0
}

// Bits of capability sets (capabilities(7)).
const (
	capKill   = 1 << 5 // to signal a program that is another user
	capSetGID = 1 << 6
	capSetUID = 1 << 7
)

// restrict makes this thread wear what the program is to inherit. The filter
// comes last, because it would refuse what the others need.
func (p *Program) restrict() syscall.Errno {
	if errno := prctl(prSetNoNewPrivs, 1, 0); errno != 0 {
		return errno
	}
	if len(p.Landlock.Rules) > 0 {
		// Its paths may lead through directories that are the user's alone.
		if errno := restrictFiles(&p.Landlock); errno != 0 {
			return errno
		}
	}
	if p.DropCapabilities {
		var keep uint64
		if p.User != nil {
			// An exec as a user who is not root takes these, too.
			keep = capKill | capSetGID | capSetUID
		}
		if errno := dropCapabilities(keep); errno != 0 {
			return errno
		}
	}
	if p.Seccomp != "" {
		return filterSystemCalls(p.Seccomp)
	}
	return 0
}

// lookup finds a program as a shell does: a name with a slash is a path,
// another is looked for in the directories given. The first that could be
// executed wins; if none could, EACCES tells that one was there.
func lookup(name string, dirs []string) (string, syscall.Errno) {
	for i := range len(name) {
		if name[i] == '/' {
			return name, 0 // execve(2) says what is wrong with it
		}
	}
	found := syscall.ENOENT
	if name == "" {
		return "", found
	}
	for _, dir := range dirs {
		path := dir + "/" + name
		var stat syscall.Stat_t
		if syscall.Stat(path, &stat) != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFREG {
			continue
		}
		const executable = 1 // X_OK
		if syscall.Access(path, executable) == nil {
			return path, 0
		}
		found = syscall.EACCES
	}
	return "", found
}

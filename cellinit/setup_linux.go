package cellinit

import "syscall"

// setup runs the steps in order and stops at the first that fails.
func setup(steps []Step, files []int) (failed int, errno syscall.Errno) {
	for i := range steps {
		if errno := steps[i].run(files); errno != 0 {
			return i, errno
		}
	}
	return 0, 0
}

func (s *Step) run(files []int) syscall.Errno {
	switch s.Op {
	case OpIDMap:
		return mapIDs(s.Source, s.Data)
	case OpMount:
		return errnoOf(syscall.Mount(s.Source, s.Target, s.Type, uintptr(s.Flags), s.Data))
	case OpWrite:
		return writeFile(s.Target, s.Data)
	case OpLinkUp:
		return linkUp(s.Target)
	case OpHostname:
		return errnoOf(syscall.Sethostname([]byte(s.Target)))
	case OpFSID:
		// These report the previous id and no error; what then lacks
		// authority fails.
		syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(s.Mode), 0, 0)
		syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(s.Flags), 0, 0)
		// The kernel takes a change for one of privileges: it clears the
		// death signal (PR_SET_PDEATHSIG(2const)) and may make this process
		// dumpable (PR_SET_DUMPABLE(2const)).
		prctl(prSetDumpable, 0, 0)
		return prctl(prSetPdeathsig, uintptr(syscall.SIGKILL), 0)
	case OpPut:
		fd, errno := s.file(files)
		if errno != 0 {
			return errno
		}
		return writeAll(fd, s.Data)
	case OpUnshare:
		return errnoOf(syscall.Unshare(int(s.Flags)))
	case OpCapabilities:
		return keepCapabilities(s.Flags)
	}
	return s.runFile(files)
}

// runFile runs the steps that make the file view.
func (s *Step) runFile(files []int) syscall.Errno {
	switch s.Op {
	case OpRoot:
		return newRoot(uintptr(s.Flags), s.Data)
	case OpDir:
		return makeDir(s.Target, s.Mode)
	case OpOwn:
		return errnoOf(syscall.Lchown(s.Target, int(s.Flags), int(s.Mode)))
	case OpFile:
		return makeFile(s.Target, s.Mode, s.Data)
	case OpSymlink:
		return makeSymlink(s.Source, s.Target)
	case OpFilesystem:
		if errno := makeDir(s.Target, 0o755); errno != 0 {
			return errno
		}
		return errnoOf(syscall.Mount(s.Type, s.Target, s.Type, uintptr(s.Flags), s.Data))
	case OpBind:
		return bind(s)
	case OpAttach:
		fd, errno := s.file(files)
		if errno != 0 {
			return errno
		}
		return attach(fd, s.Target)
	case OpAttributes:
		return setAttributes(atCWD, s.Target, atSymlinkNofollow, s.Flags)
	case OpMask:
		return mask(s.Target)
	case OpFreeze:
		var stat syscall.Stat_t
		if err := syscall.Lstat(s.Target, &stat); err == syscall.ENOENT {
			return 0
		}
		return bind(&Step{Source: s.Target, Target: s.Target, Flags: s.Flags})
	case OpDetach:
		const detach = 2 // MNT_DETACH
		if err := syscall.Unmount(s.Target, detach); err != nil {
			return errnoOf(err)
		}
		return errnoOf(syscall.Rmdir(s.Target))
	case OpPivot:
		return pivot()
	}
	return syscall.EINVAL
}

// file is the descriptor that a step refers to.
func (s *Step) file(files []int) (int, syscall.Errno) {
	if uint64(s.File) >= uint64(len(files)) {
		return -1, syscall.EBADF
	}
	return files[s.File], 0
}

// mapIDs maps one id of each kind. PID 1 does it for itself because the
// supervisor, being non-dumpable, cannot open these files before the exec of
// PID 1, and needs setuid authority afterwards. They are root's, too, as long
// as PID 1 is non-dumpable.
func mapIDs(uids, gids string) syscall.Errno {
	prctl(prSetDumpable, 1, 0)
	defer prctl(prSetDumpable, 0, 0)
	for _, file := range [...]struct{ path, text string }{
		{"/proc/self/setgroups", "deny"}, // before gid_map, or that is refused
		{"/proc/self/gid_map", gids},
		{"/proc/self/uid_map", uids},
	} {
		if errno := writeFile(file.path, file.text); errno != 0 {
			return errno
		}
	}
	return 0
}

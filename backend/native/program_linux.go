package native

import (
	"os"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
)

// searchPath is where a program without a slash is looked for.
var searchPath = []string{"/usr/local/bin", "/usr/bin", "/bin"}

// initTasks are processes and threads of PID 1 that count against the limit
// of a workload that is the same user.
const initTasks = 16

// program is what PID 1 starts.
func (p *preparation) program() cellinit.Program {
	process := p.plan.Process
	if process == nil {
		return cellinit.Program{}
	}
	rootless := p.ids == nil
	tasks := p.plan.Limits.Pids
	if rootless {
		tasks += initTasks
	}
	prog := cellinit.Program{
		Argv: process.Argv, Dir: process.Dir, Search: searchPath,
		// The number of processes is that of the user in his user
		// namespace, which are those of the cell (user_namespaces(7)).
		Limits:           []cellinit.Limit{{Resource: unix.RLIMIT_NPROC, Max: tasks}},
		DropCapabilities: true,
		Seccomp:          filter(rootless),
		Landlock:         landlock(landlockVersion(), p.plan.Files),
		NullInput:        isNull(p.stdin),
	}
	if process.OpenFiles != 0 {
		prog.Limits = append(prog.Limits, cellinit.Limit{Resource: unix.RLIMIT_NOFILE, Max: process.OpenFiles})
	}
	if !rootless {
		prog.User = &cellinit.User{UID: p.plan.Identity.UID, GID: p.plan.Identity.GID}
	}
	return prog
}

// isNull reports whether a file is the null device (null(4)).
func isNull(f *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(f.Fd()), &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == unix.Mkdev(1, 3)
}

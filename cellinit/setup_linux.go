package cellinit

import "syscall"

// setup runs the steps in order and stops at the first that fails.
func setup(steps []Step) (failed int, errno syscall.Errno) {
	for i, s := range steps {
		if errno := s.run(); errno != 0 {
			return i, errno
		}
	}
	return 0, 0
}

func (s Step) run() syscall.Errno {
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
	}
	return syscall.EINVAL
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

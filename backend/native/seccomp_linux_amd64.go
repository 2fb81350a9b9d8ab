package native

import "golang.org/x/sys/unix"

// auditArch is the only ABI that a workload may use: the numbers of another
// mean other system calls.
const auditArch = unix.AUDIT_ARCH_X86_64

// allowedHere are the system calls that arm64 never had.
var allowedHere = []uint32{
	unix.SYS_NEWFSTATAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS, unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_PIPE, unix.SYS_DUP2,
	unix.SYS_PAUSE, unix.SYS_ALARM, unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_GETDENTS, unix.SYS_RENAME, unix.SYS_RMDIR,
	unix.SYS_LINK, unix.SYS_UNLINK, unix.SYS_SYMLINK, unix.SYS_READLINK, unix.SYS_CHOWN, unix.SYS_LCHOWN,
	unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_GETPGRP, unix.SYS_TIME, unix.SYS_ARCH_PRCTL,
	unix.SYS_EPOLL_CREATE, unix.SYS_EPOLL_WAIT, unix.SYS_SIGNALFD, unix.SYS_EVENTFD, unix.SYS_INOTIFY_INIT,
	unix.SYS_MAP_SHADOW_STACK,
}

func checkedHere() map[uint32]action {
	return map[uint32]action{
		unix.SYS_OPEN:  opens(1, 2),
		unix.SYS_CREAT: without(1, setIDs, deny),
		unix.SYS_CHMOD: without(1, setIDs, deny),
		unix.SYS_MKDIR: without(1, setIDs, deny),
		unix.SYS_MKNOD: without(1, setIDs, deny),
	}
}

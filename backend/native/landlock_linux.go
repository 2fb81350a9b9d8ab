package native

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/plan"
)

// Access rights by the version of Landlock that knows them (landlock(7)).
const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landlockRefer    = unix.LANDLOCK_ACCESS_FS_REFER                                         // 2
	landlockTruncate = unix.LANDLOCK_ACCESS_FS_TRUNCATE                                      // 3
	landlockIoctl    = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV                                     // 5
	landlockScopes   = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL // 6
)

// minLandlock is the first version that can be used: the one before refuses
// every rename from one directory to another.
const minLandlock = 2

// landlockVersion is what the kernel has, 0 if nothing.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// landlock is the ruleset of a cell: it may read what its mounts show, and
// write where they let it. It holds even if a mount did not.
func landlock(version int, view *plan.FileView) cellinit.Landlock {
	if version < minLandlock {
		return cellinit.Landlock{}
	}
	write := uint64(landlockWrite | landlockRefer)
	device := uint64(unix.LANDLOCK_ACCESS_FS_WRITE_FILE)
	if version >= 3 {
		write |= landlockTruncate
		device |= landlockTruncate
	}
	all := landlockRead | write
	if version >= 5 {
		device |= landlockIoctl
		all |= landlockIoctl
	}
	l := cellinit.Landlock{Files: all}
	if version >= 6 {
		l.Scoped = landlockScopes
	}
	// On a file only some of the rights mean anything, and others are
	// refused.
	const onFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		landlockTruncate | landlockIoctl
	l.Rules = append(l.Rules, cellinit.LandlockRule{Path: "/", Access: landlockRead})
	for _, e := range view.Entries {
		var access uint64
		switch {
		case e.Kind == plan.KindDevice:
			access = device & onFile
		case e.Kind == plan.KindProc, e.Kind == plan.KindTerminal:
			access = device
		case e.Kind == plan.KindScratch, e.Kind == plan.KindMount && !e.ReadOnly && !e.File:
			access = landlockRead | write
		case e.Kind == plan.KindMount && !e.ReadOnly:
			access = (landlockRead | write) & onFile
		default:
			continue
		}
		l.Rules = append(l.Rules, cellinit.LandlockRule{Path: e.Target, Access: access})
	}
	return l
}

// landlockControl is the line of an isolation report.
func landlockControl(version int) plan.Control {
	if version < minLandlock {
		return plan.Control{State: plan.Unavailable, By: "the kernel has no Landlock of version 2"}
	}
	return plan.Control{State: plan.Enforced, By: fmt.Sprintf("ruleset of version %d over the file view", version)}
}

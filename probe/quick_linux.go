package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quick makes an ability of something that only asks the kernel.
func quick(name, means string, controls []string, try func() Result) Ability {
	return Ability{Name: name, Means: means, Controls: controls, Quick: true, Try: func(context.Context) Result { return try() }}
}

// tryCalls makes the newer system calls that the set-up of a cell rests on, in
// a way that changes nothing.
func tryCalls() Result {
	var missing []string
	for _, c := range []struct {
		name, since string
		errno       unix.Errno
	}{
		{"openat2", "5.6", call(unix.SYS_OPENAT2, ^uintptr(0), 0, 0, 0)},
		// From the largest number to the largest: there is none to mark.
		{"close_range", "5.11", call(unix.SYS_CLOSE_RANGE, 1<<31-1, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC)},
		{"open_tree", "5.2", call(unix.SYS_OPEN_TREE, ^uintptr(0), 0, 0)},
		{"move_mount", "5.2", call(unix.SYS_MOVE_MOUNT, ^uintptr(0), 0, ^uintptr(0), 0, 0)},
		{"mount_setattr", "5.12", call(unix.SYS_MOUNT_SETATTR, ^uintptr(0), 0, 0, 0, 0)},
	} {
		if c.errno == unix.ENOSYS || c.name == "close_range" && c.errno != 0 {
			missing = append(missing, c.name+" (Linux "+c.since+")")
		}
	}
	if len(missing) == 0 {
		return Result{Answer: Works, Detail: "Linux " + release()}
	}
	return Result{Answer: Unsupported, Detail: fmt.Sprintf("Linux %s here lacks %s", release(), strings.Join(missing, ", ")),
		Remedy: "use Linux 5.12 or later; " + remedyUnfilter}
}

// call makes a system call that fails unless it does nothing.
func call(number uintptr, args ...uintptr) unix.Errno {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	return errno
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "(of unknown release)"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// tryPidfd opens one for this process and sends it no signal (pidfd_open(2)).
func tryPidfd() Result {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.PidfdSendSignal(fd, 0, nil, 0)
	}
	return denied(judge("", at("use a pidfd", err)), err, remedyUnfilter, "use Linux 5.4 or later")
}

// tryTimer arms a timer on the clock that suspending does not stop
// (timerfd_create(2)).
func tryTimer() Result {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC)
	if err == nil {
		defer unix.Close(fd)
		err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.Timespec{Sec: 3600}}, nil)
	}
	return denied(judge("", at("arm a timer", err)), err, remedyUnfilter, "use Linux 3.17 or later")
}

// tryNoNewPrivs only reads the attribute: it cannot be taken back.
func tryNoNewPrivs() Result {
	_, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return denied(judge("", at("ask for no-new-privs", err)), err, remedyUnfilter, "use Linux 3.5 or later")
}

// tryLandlock makes a ruleset (landlock_create_ruleset(2)).
func tryLandlock() Result {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 {
		attr := struct{ accessFS uint64 }{unix.LANDLOCK_ACCESS_FS_WRITE_FILE}
		var fd uintptr
		fd, _, errno = unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
		if errno == 0 {
			unix.Close(int(fd))
			return Result{Answer: Works, Detail: fmt.Sprintf("ABI %d", abi)}
		}
	}
	r := judge("", at("make a landlock ruleset", errno))
	if errno == unix.EOPNOTSUPP {
		r.Remedy = "boot with lsm=landlock,… : the names in /sys/kernel/security/lsm after landlock"
		return r
	}
	return denied(r, errno, remedyUnfilter, "use a kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.13 or later)")
}

// tryIPv6 binds the loopback address.
func tryIPv6() Result {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}})
	}
	r := judge("", at("bind ::1", err))
	if r.Answer == Unsupported {
		r.Remedy = "sysctl -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0, and boot without ipv6.disable=1; without it cells have IPv4 only"
	}
	return r
}

// tryCoreDumps reads what becomes of a dump (core(5)). No setting of it is a
// fault: with a limit of 1 byte a pipe is not started either.
func tryCoreDumps() Result {
	b, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		return Result{Answer: Unknown, Detail: err.Error()}
	}
	pattern := strings.TrimSpace(string(b))
	if collector, piped := strings.CutPrefix(pattern, "|"); piped {
		return Result{Answer: Works, Detail: "RLIMIT_CORE 1 keeps them from " + collector}
	}
	return Result{Answer: Works, Detail: "RLIMIT_CORE 1 keeps them from being written"}
}

// dirAbility is a directory that a supervisor writes to. It is not made.
func dirAbility(name, means, dir, setting string) Ability {
	return Ability{Name: name, Means: means, Try: func(context.Context) Result {
		r := tryDir(dir)
		if r.Answer != Works {
			r.Remedy = "set " + setting + " to a directory of your own"
		}
		return r
	}}
}

// tryDir asks whether a directory, or the nearest above it that is there, can
// be written by this user and by no other.
func tryDir(dir string) Result {
	if !strings.HasPrefix(dir, "/") {
		return Result{Answer: Unsupported, Detail: fmt.Sprintf("%q is not an absolute path", dir)}
	}
	at, made := dir, true
	var stat unix.Stat_t
	for {
		err := unix.Stat(at, &stat)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || at == "/" {
			return Result{Answer: Unsupported, Detail: at + ": " + err.Error()}
		}
		at, made = at[:max(strings.LastIndexByte(at, '/'), 1)], false
	}
	others := stat.Mode&0o022 != 0
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFDIR:
		return Result{Answer: Unsupported, Detail: at + " is not a directory"}
	case unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS) != nil:
		return Result{Answer: Unsupported, Detail: at + " cannot be written by this user"}
	case made && others, !made && others && stat.Mode&unix.S_ISVTX == 0:
		return Result{Answer: Unsupported, Detail: at + " can be changed by other users"}
	case !made:
		return Result{Answer: Works, Detail: dir + ", to be made"}
	}
	return Result{Answer: Works, Detail: dir}
}

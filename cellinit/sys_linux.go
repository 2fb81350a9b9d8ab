package cellinit

import (
	"syscall"
	"unsafe"
)

// Numbers that package syscall lacks. Those of system calls that are the same
// on every architecture are from include/uapi/asm-generic/unistd.h.
const (
	sysCloseRange      = 436
	sysPidfdSendSignal = 424

	sysOpenTree       = 428
	sysMoveMount      = 429
	sysOpenat2        = 437
	sysMountSetattr   = 442
	sysLandlockCreate = 444
	sysLandlockAdd    = 445
	sysLandlockSelf   = 446

	closeRangeCloexec = 4 // CLOSE_RANGE_CLOEXEC, Linux 5.11

	openPath          = 0x200000 // O_PATH
	openTreeClone     = 1
	atCWD             = -100
	atSymlinkNofollow = 0x100
	atEmptyPath       = 0x1000
	atRecursive       = 0x8000

	resolveNoMagicLinks = 0x2
	resolveNoSymlinks   = 0x4
	resolveBeneath      = 0x8

	moveFromEmptyPath = 0x4
	moveToEmptyPath   = 0x40

	prSetDumpable     = 4
	prSetPdeathsig    = 1
	prCapbsetDrop     = 24
	prSetNoNewPrivs   = 38
	prCapAmbient      = 47
	prSetSeccomp      = 22
	seccompFilter     = 2
	prCapAmbientClear = 4

	capabilityVersion3 = 0x20080522

	clockBoottime  = 7
	timerfdAbstime = 1

	msgNoSignal = syscall.MSG_NOSIGNAL

	sigURG  = 23
	sigMax  = 64
	sigsetN = 8 // bytes of a kernel sigset_t

	rusageSelf     = 0
	rusageChildren = -1
)

func prctl(option, arg2, arg3 uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, arg3, 0, 0, 0)
	return errno
}

// defaultSignals gives every signal its default action and blocks none. An
// init ignores what it has no handler for when it is sent from inside; Go's
// handlers, which raise the signal again, would let the workload kill it.
// Go's own SIGURG stays: it preempts goroutines. The kernel refuses SIGKILL
// and SIGSTOP; that is no error here.
func defaultSignals() {
	var action [8]uint64 // struct sigaction of the kernel: SIG_DFL, nothing masked
	for sig := uintptr(1); sig <= sigMax; sig++ {
		if sig != sigURG {
			syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, sigsetN, 0, 0)
		}
	}
	unblockSignals()
}

// unblockSignals empties the signal mask of this thread. A child inherits it.
func unblockSignals() {
	const setMask = 2 // SIG_SETMASK
	var none uint64
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&none)), 0, sigsetN, 0, 0)
}

// closeOnExec marks every descriptor from first on. Closing them would take
// those of the Go runtime as well.
func closeOnExec(first uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall(sysCloseRange, first, ^uintptr(0)>>32, closeRangeCloexec)
	return errno
}

func setLimit(resource uint32, limit uint64) syscall.Errno {
	both := [2]uint64{limit, limit}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, uintptr(resource), uintptr(unsafe.Pointer(&both)), 0, 0, 0)
	return errno
}

// dropCapabilities leaves this thread nothing but what is in the mask, and
// what it executes no capability at all (capabilities(7)).
func dropCapabilities(keep uint64) syscall.Errno {
	for c := uintptr(0); c < 64; c++ {
		errno := prctl(prCapbsetDrop, c, 0)
		if errno == syscall.EINVAL {
			break // above the kernel's last capability
		}
		if errno != 0 {
			return errno
		}
	}
	return keepCapabilities(keep)
}

// keepCapabilities leaves this thread nothing but what is in the mask, none of
// it for what it executes. The bounding set stays.
func keepCapabilities(keep uint64) syscall.Errno {
	if errno := prctl(prCapAmbient, prCapAmbientClear, 0); errno != 0 {
		return errno
	}
	header := [2]uint32{capabilityVersion3, 0}
	low, high := uint32(keep), uint32(keep>>32)
	sets := [6]uint32{low, low, 0, high, high, 0} // effective, permitted, inheritable
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets)), 0)
	return errno
}

// openBeneath opens a path below the working directory without following a
// symbolic link (openat2(2)).
func openBeneath(path string, flags uint64) (int, syscall.Errno) {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return -1, errnoOf(err)
	}
	cwd := atCWD
	how := [3]uint64{flags | syscall.O_CLOEXEC, 0, resolveBeneath | resolveNoSymlinks | resolveNoMagicLinks}
	fd, _, errno := syscall.RawSyscall6(sysOpenat2, uintptr(cwd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
	return int(fd), errno
}

// openTree returns a detached copy of what is mounted at a descriptor.
func openTree(fd int, flags uintptr) (int, syscall.Errno) {
	var empty byte
	tree, _, errno := syscall.RawSyscall(sysOpenTree, uintptr(fd), uintptr(unsafe.Pointer(&empty)), flags|atEmptyPath)
	return int(tree), errno
}

// moveMount attaches a detached mount to a directory or file.
func moveMount(tree, at int) syscall.Errno {
	var empty byte
	none := uintptr(unsafe.Pointer(&empty))
	_, _, errno := syscall.RawSyscall6(sysMoveMount, uintptr(tree), none, uintptr(at), none, moveFromEmptyPath|moveToEmptyPath, 0)
	return errno
}

// setAttributes adds attributes to a mount (mount_setattr(2)).
func setAttributes(dir int, path string, flags uintptr, attributes uint64) syscall.Errno {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return errnoOf(err)
	}
	attr := [4]uint64{attributes, 0, 0, 0} // set, clear, propagation, user namespace
	_, _, errno := syscall.RawSyscall6(sysMountSetattr, uintptr(dir), uintptr(unsafe.Pointer(name)), flags,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	return errno
}

// filterSystemCalls gives this thread, and what it executes, a filter
// (PR_SET_SECCOMP, prctl(2)).
func filterSystemCalls(filter string) syscall.Errno {
	const instruction = 8 // bytes of a struct sock_filter
	n := len(filter) / instruction
	if n == 0 || n > 4096 || len(filter)%instruction != 0 {
		return syscall.EINVAL
	}
	program := struct {
		length uint16
		filter *byte
	}{uint16(n), unsafe.StringData(filter)}
	return prctl(prSetSeccomp, seccompFilter, uintptr(unsafe.Pointer(&program)))
}

// restrictFiles gives this thread, and what it executes, a ruleset
// (landlock_restrict_self(2)).
func restrictFiles(l *Landlock) syscall.Errno {
	attr := [3]uint64{l.Files, 0, l.Scoped} // files, network, scopes
	size := unsafe.Sizeof(attr)
	if l.Scoped == 0 {
		size = unsafe.Sizeof(attr[0]) // what the first version of Landlock knows
	}
	rules, _, errno := syscall.RawSyscall(sysLandlockCreate, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(int(rules))
	for _, r := range l.Rules {
		fd, err := syscall.Open(r.Path, openPath|syscall.O_CLOEXEC, 0)
		if err == syscall.ENOENT || err == syscall.EACCES {
			continue
		}
		if err != nil {
			return errnoOf(err)
		}
		// struct landlock_path_beneath_attr is packed.
		var beneath [12]byte
		*(*uint64)(unsafe.Pointer(&beneath)) = r.Access
		*(*int32)(unsafe.Pointer(&beneath[8])) = int32(fd)
		const pathBeneath = 1 // LANDLOCK_RULE_PATH_BENEATH
		_, _, errno := syscall.RawSyscall6(sysLandlockAdd, rules, pathBeneath, uintptr(unsafe.Pointer(&beneath)), 0, 0, 0)
		syscall.Close(fd)
		if errno != 0 {
			return errno
		}
	}
	_, _, errno = syscall.RawSyscall(sysLandlockSelf, rules, 0, 0)
	return errno
}

// deadlineTimer returns a descriptor that can be read after the deadline.
func deadlineTimer(deadline int64) (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockBoottime, syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(max(deadline, 1))} // interval 0; value 0 would disarm
	_, _, errno = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, timerfdAbstime, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return int(fd), errno
}

func signalPidfd(pidfd int, sig uint32) {
	syscall.RawSyscall6(sysPidfdSendSignal, uintptr(pidfd), uintptr(sig), 0, 0, 0, 0)
}

func micros(r *syscall.Rusage) uint64 {
	return uint64(r.Utime.Nano()+r.Stime.Nano()) / 1000
}

// linkUp sets IFF_UP on an interface of this network namespace.
func linkUp(name string) syscall.Errno {
	var request struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte // the rest of struct ifreq
	}
	if len(name) >= len(request.name) {
		return syscall.ENAMETOOLONG
	}
	copy(request.name[:], name)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer syscall.Close(fd)
	for _, ioctl := range []uintptr{syscall.SIOCGIFFLAGS, syscall.SIOCSIFFLAGS} {
		_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), ioctl, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return errno
		}
		request.flags |= syscall.IFF_UP
	}
	return 0
}

// writeFile gives text to an existing file, in one write as /proc wants it.
func writeFile(path, text string) syscall.Errno {
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer syscall.Close(fd)
	return writeAll(fd, text)
}

func writeAll(fd int, text string) syscall.Errno {
	if text == "" {
		return 0
	}
	n, err := syscall.Write(fd, unsafe.Slice(unsafe.StringData(text), len(text)))
	if err == nil && n != len(text) {
		return syscall.EIO
	}
	return errnoOf(err)
}

// readAll reads a small file of /proc.
func readAll(path string, buf []byte) []byte {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	n, err := syscall.Read(fd, buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// errnoOf is the errno of an error of package syscall.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return syscall.EIO
}

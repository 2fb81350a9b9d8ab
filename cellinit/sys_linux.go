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

	closeRangeCloexec = 4 // CLOSE_RANGE_CLOEXEC, Linux 5.11

	prSetDumpable     = 4
	prSetPdeathsig    = 1
	prCapbsetDrop     = 24
	prSetNoNewPrivs   = 38
	prCapAmbient      = 47
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

// dropCapabilities leaves this thread, and what it executes, without any
// capability, now or by exec (capabilities(7)).
func dropCapabilities() syscall.Errno {
	for c := uintptr(0); c < 64; c++ {
		errno := prctl(prCapbsetDrop, c, 0)
		if errno == syscall.EINVAL {
			break // above the kernel's last capability
		}
		if errno != 0 {
			return errno
		}
	}
	if errno := prctl(prCapAmbient, prCapAmbientClear, 0); errno != 0 {
		return errno
	}
	header := [2]uint32{capabilityVersion3, 0}
	var none [6]uint32
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
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
	n, err := syscall.Write(fd, []byte(text))
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

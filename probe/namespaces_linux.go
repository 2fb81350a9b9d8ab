package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tryUser uses a capability of the new namespace, which AppArmor may withhold
// although the namespace was made, and gives all of them up.
func tryUser() error {
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return at("use a capability in the user namespace", err)
	}
	if err := unix.Sethostname([]byte("cell")); err != nil {
		return at("use a capability in the user namespace", err)
	}
	for c := uintptr(0); c < 64; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // above the kernel's last
		}
		if err != nil {
			return at("empty the bounding set", err)
		}
	}
	if err := dropCapabilities(); err != nil {
		return at("drop all capabilities", err)
	}
	if unix.Sethostname([]byte("cell")) == nil {
		return &refusal{step: "drop all capabilities", errno: unix.EINVAL, text: "they still work"}
	}
	return nil
}

func dropCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&header, &none[0])
}

// tryNet brings lo up (netdevice(7)).
func tryNet() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return at("open a socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return at("bring lo up", err)
	}
	lo.SetUint16(unix.IFF_UP)
	return at("bring lo up", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

// tryMount makes the mounts private, without which nothing may be mounted.
func tryMount() error {
	return at("make the mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

func tryPID() error {
	if os.Getpid() != 1 {
		return &refusal{step: "be PID 1", errno: unix.EINVAL, text: fmt.Sprintf("the pid is %d", os.Getpid())}
	}
	return nil
}

// tryProcessLimit checks that RLIMIT_NPROC binds the user of a cell, who is no
// one that the kernel exempts (setrlimit(2)).
func tryProcessLimit() error {
	if err := dropCapabilities(); err != nil {
		return at("drop all capabilities", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		return at("set RLIMIT_NPROC", err)
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{arg0, "wait"}, nil)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err == nil {
		var status unix.WaitStatus
		_, _ = unix.Wait4(pid, &status, 0, nil)
	}
	return &refusal{step: "exceed RLIMIT_NPROC", errno: unix.EINVAL, text: "a process more could be made"}
}

// trySeccomp filters one system call with an errno that it never has, on this
// thread only (seccomp(2)).
func trySeccomp() error {
	const strange = unix.EXDEV
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return at("set no-new-privs", err)
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // offset 0: the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_SCHED_YIELD},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(strange)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return at("load a filter", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0); errno != strange {
		return &refusal{step: "load a filter", errno: unix.EINVAL, text: "it has no effect"}
	}
	kill := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, errno = unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&kill)))
	if errno != 0 {
		return at("ask for SECCOMP_RET_KILL_PROCESS", errno)
	}
	return nil
}

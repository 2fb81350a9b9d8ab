package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Outside is what the test has put on the host for a cell to look for.
type outside struct {
	Files    []string // that must not be there
	Sockets  []string // of the file system
	Abstract []string
	Loopback []string // host:port
	Writable string   // a directory of the cell
	PID      int      // of a process of the host
}

// canaries tries everything that a cell must not be able to do, with raw
// system calls where a library might refuse first. It prints what it could.
func canaries(arg string) error {
	var o outside
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return err
	}
	// What is about a thread is about this one.
	runtime.LockOSThread()
	tried := 0
	for _, group := range []func(*outside) []attempt{
		paths, sockets, calls, privileges, setIDs, others,
	} {
		for _, a := range group(&o) {
			tried++
			if err := a.do(); err == nil {
				fmt.Println("reached:", a.name)
			}
		}
	}
	fmt.Println("tried", tried)
	return nil
}

// An attempt succeeds if it returns nil, and must not.
type attempt struct {
	name string
	do   func() error
}

var errNothing = errors.New("nothing there")

func paths(o *outside) []attempt {
	var list []attempt
	hidden := append([]string{
		"/root", "/var", "/srv", "/mnt", "/sys", "/boot", "/opt", "/lost+found", "/run/dbus", "/run/user", "/run/cellos", "/run/systemd",
		"/etc/shadow", "/etc/gshadow", "/etc/ssh/sshd_config", "/etc/ssl/private", "/etc/npmrc", "/etc/pip.conf", "/etc/environment",
		"/etc/sudoers", "/etc/cron.d", "/etc/fstab", "/etc/apt", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/vda", "/dev/sda",
		"/dev/fuse", "/dev/net/tun", "/dev/console", "/sys/fs/cgroup", "/sys/kernel", "/.scratch", "/old_root",
	}, o.Files...)
	for _, name := range hidden {
		list = append(list, attempt{"stat " + name, func() error {
			var stat unix.Stat_t
			return unix.Lstat(name, &stat)
		}})
	}
	for _, name := range []string{
		"/proc/1/exe", "/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/fd", "/proc/1/root", "/proc/1/cwd", "/proc/1/ns/net",
	} {
		list = append(list, attempt{"open " + name, func() error { return open(name, unix.O_RDONLY) }})
	}
	for _, name := range []string{"/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/timer_list", "/proc/kallsyms", "/proc/slabinfo"} {
		list = append(list, attempt{"read " + name, func() error {
			if text, err := os.ReadFile(name); err != nil || len(text) == 0 {
				return errNothing
			}
			return nil
		}})
	}
	for _, name := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/vm/drop_caches",
		"/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/usr/bin/env", "/etc/passwd", "/etc/hosts", "/proc/irq/0/smp_affinity",
	} {
		list = append(list, attempt{"open for writing " + name, func() error { return open(name, unix.O_WRONLY) }})
	}
	for _, dir := range []string{"/", "/usr", "/etc", "/dev", "/proc", "/usr/lib", "/dev/pts", "/home"} {
		list = append(list, attempt{"make a file in " + dir, func() error {
			return open(filepath.Join(dir, "canary"), unix.O_CREAT|unix.O_WRONLY)
		}})
	}
	return list
}

func open(name string, flags int) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func sockets(o *outside) []attempt {
	var list []attempt
	for _, s := range []struct {
		name                  string
		family, typ, protocol int
	}{
		{"vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		{"packet", unix.AF_PACKET, unix.SOCK_RAW, 0},
		{"packet datagrams", unix.AF_PACKET, unix.SOCK_DGRAM, 0},
		{"raw v4", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		{"raw v6", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		{"ping", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
		{"sctp", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
		{"mptcp", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
		{"crypto", unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"bluetooth", unix.AF_BLUETOOTH, unix.SOCK_RAW, 1},
		{"can", unix.AF_CAN, unix.SOCK_RAW, 1},
		{"xdp", unix.AF_XDP, unix.SOCK_RAW, 0},
		{"netlink netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER},
		{"netlink audit", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
		{"netlink uevent", unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_KOBJECT_UEVENT},
		{"netlink diag", unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_SOCK_DIAG},
	} {
		list = append(list, attempt{"socket: " + s.name, func() error {
			fd, err := unix.Socket(s.family, s.typ|unix.SOCK_CLOEXEC, s.protocol)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}})
	}
	connect := func(name string, family int, addr unix.Sockaddr) {
		list = append(list, attempt{"connect to " + name, func() error {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Connect(fd, addr)
		}})
	}
	for _, path := range append([]string{"/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/systemd/private"}, o.Sockets...) {
		connect(path, unix.AF_UNIX, &unix.SockaddrUnix{Name: path})
	}
	for _, name := range o.Abstract {
		connect("@"+name, unix.AF_UNIX, &unix.SockaddrUnix{Name: "@" + name})
	}
	for _, addr := range o.Loopback {
		port, _ := strconv.Atoi(addr[strings.LastIndexByte(addr, ':')+1:])
		connect(addr, unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
	}
	return list
}

// raw is an attempt with a system call.
func raw(name string, number uintptr, args ...uintptr) attempt {
	var a [6]uintptr
	copy(a[:], args)
	return attempt{name, func() error {
		_, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return errno
		}
		return nil
	}}
}

// text is a pointer to a string that outlives the program's last use of it.
func text(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	kept = append(kept, p)
	return uintptr(unsafe.Pointer(p))
}

var (
	kept   []*byte
	zeroes [256]byte
)

func zeroed() uintptr { return uintptr(unsafe.Pointer(&zeroes)) }

// calls are parts of the kernel that a cell has no use for. With the arguments
// that they have here they would work for somebody.
func calls(*outside) []attempt {
	tmp, none := text("/tmp"), text("none")
	list := []attempt{
		raw("io_uring_setup", unix.SYS_IO_URING_SETUP, 8, zeroed()),
		raw("bpf", unix.SYS_BPF, unix.BPF_MAP_CREATE, zeroed(), 72),
		raw("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1),
		raw("perf_event_open", unix.SYS_PERF_EVENT_OPEN, zeroed(), 0, ^uintptr(0), ^uintptr(0), 0),
		raw("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1),
		raw("add_key", unix.SYS_ADD_KEY, text("user"), text("canary"), tmp, 4, ^uintptr(3)),
		raw("request_key", unix.SYS_REQUEST_KEY, text("user"), text("canary"), 0, 0),
		raw("mount", unix.SYS_MOUNT, none, tmp, text("tmpfs"), 0, 0),
		raw("bind mount", unix.SYS_MOUNT, text("/usr"), tmp, 0, unix.MS_BIND, 0),
		raw("remount", unix.SYS_MOUNT, 0, text("/"), 0, unix.MS_REMOUNT|unix.MS_BIND, 0),
		raw("umount", unix.SYS_UMOUNT2, text("/proc"), unix.MNT_DETACH),
		raw("pivot_root", unix.SYS_PIVOT_ROOT, text("."), text(".")),
		raw("chroot", unix.SYS_CHROOT, tmp),
		raw("open_tree", unix.SYS_OPEN_TREE, 0, text("/usr"), unix.OPEN_TREE_CLONE),
		raw("fsopen", unix.SYS_FSOPEN, text("tmpfs"), 0),
		raw("mount_setattr", unix.SYS_MOUNT_SETATTR, 0, text("/usr"), 0, zeroed(), 32),
		raw("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 0, zeroed(), 0),
		raw("fanotify_init", unix.SYS_FANOTIFY_INIT, unix.FAN_REPORT_FID, 0),
		raw("swapon", unix.SYS_SWAPON, tmp, 0),
		raw("reboot", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_OFF),
		raw("init_module", unix.SYS_INIT_MODULE, zeroed(), 16, none),
		raw("acct", unix.SYS_ACCT, 0),
		raw("syslog", unix.SYS_SYSLOG, 10, 0, 0),
		raw("settimeofday", unix.SYS_SETTIMEOFDAY, 0, zeroed()),
		raw("clock_settime", unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, zeroed()),
		raw("sethostname", unix.SYS_SETHOSTNAME, tmp, 4),
		raw("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0),
		raw("setns", unix.SYS_SETNS, 0, 0),
		raw("clone3", unix.SYS_CLONE3, zeroed(), 64),
	}
	for name, flag := range map[string]uintptr{
		"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "network": unix.CLONE_NEWNET, "pid": unix.CLONE_NEWPID,
		"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
	} {
		list = append(list, raw("unshare: "+name+" namespace", unix.SYS_UNSHARE, flag))
	}
	return list
}

// privileges are what this process has, told by the kernel.
func privileges(*outside) []attempt {
	status, _ := os.ReadFile("/proc/self/status")
	field := func(name string) string {
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, name+":"); ok {
				return strings.TrimSpace(rest)
			}
		}
		return "?"
	}
	differs := func(name, want string) attempt {
		return attempt{name + " is " + field(name), func() error {
			if field(name) == want {
				return errNothing
			}
			return nil
		}}
	}
	none := "0000000000000000"
	return []attempt{
		differs("CapPrm", none), differs("CapEff", none), differs("CapBnd", none), differs("CapInh", none), differs("CapAmb", none),
		differs("NoNewPrivs", "1"), differs("Seccomp", "2"),
		{"uid 0", func() error { return unless(os.Getuid() == 0 || os.Geteuid() == 0) }},
		{"an id that is uid 0 of the host", func() error {
			for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
				table, err := os.ReadFile(file)
				if err != nil {
					return nil
				}
				for line := range strings.Lines(string(table)) {
					// Inside, outside, count (user_namespaces(7)).
					if f := strings.Fields(line); len(f) != 3 || f[1] == "0" {
						return nil
					}
				}
			}
			return errNothing
		}},
		{"more than three descriptors", func() error {
			// The directory that is read is one.
			entries, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				return nil
			}
			for _, e := range entries {
				n, _ := strconv.Atoi(e.Name())
				flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
				if n > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
					return nil
				}
			}
			return errNothing
		}},
		{"setuid 0", func() error { return unix.Setuid(0) }},
		{"setgroups", func() error { return unix.Setgroups([]int{0}) }},
		{"a terminal", func() error {
			_, err := unix.IoctlGetTermios(0, unix.TCGETS)
			return err
		}},
	}
}

// unless is nil, which is bad, if the condition holds.
func unless(bad bool) error {
	if bad {
		return nil
	}
	return errNothing
}

// setIDs try to leave a set-user-id or set-group-id file, or a device.
func setIDs(o *outside) []attempt {
	file := filepath.Join(o.Writable, "canary")
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		return []attempt{{"write to " + o.Writable + ": " + err.Error(), func() error { return nil }}}
	}
	var list []attempt
	for _, bits := range []uint32{unix.S_ISUID, unix.S_ISGID} {
		mode := bits | 0o755
		made := filepath.Join(o.Writable, "made")
		list = append(list,
			attempt{"chmod", func() error { return unix.Chmod(file, mode) }},
			attempt{"fchmodat", func() error { return unix.Fchmodat(unix.AT_FDCWD, file, mode, 0) }},
			attempt{"fchmodat2", func() error { return unix.Fchmodat(unix.AT_FDCWD, file, mode, unix.AT_SYMLINK_NOFOLLOW) }},
			attempt{"fchmod", func() error {
				fd, err := unix.Open(file, unix.O_RDONLY, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return unix.Fchmod(fd, mode)
			}},
			attempt{"open", func() error {
				_, err := unix.Open(made, unix.O_CREAT|unix.O_WRONLY, mode)
				return err
			}},
			attempt{"open without a name", func() error {
				_, err := unix.Open(o.Writable, unix.O_TMPFILE|unix.O_WRONLY, mode)
				return err
			}},
			attempt{"openat2", func() error {
				_, err := unix.Openat2(unix.AT_FDCWD, made, &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: uint64(mode)})
				return err
			}},
			attempt{"mkdirat", func() error { return unix.Mkdirat(unix.AT_FDCWD, made, mode) }},
			attempt{"mknodat", func() error { return unix.Mknodat(unix.AT_FDCWD, made, unix.S_IFREG|mode, 0) }},
		)
	}
	for i := range list {
		list[i].name = "set-id: " + list[i].name
	}
	return append(list,
		attempt{"a device", func() error {
			return unix.Mknod(filepath.Join(o.Writable, "device"), unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
		}})
}

// others reach for other processes.
func others(o *outside) []attempt {
	pid := uintptr(o.PID)
	const seize = 0x4206 // PTRACE_SEIZE
	list := []attempt{
		raw("kill a process of the host", unix.SYS_KILL, pid, 0),
		raw("ptrace PID 1", unix.SYS_PTRACE, seize, 1, 0, 0),
		raw("ptrace-attach PID 1", unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0, 0),
		raw("set a limit of PID 1", unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE, zeroed(), 0),
		{"read the memory of PID 1", func() error {
			own := make([]byte, 8)
			const text = 0x400000 // where programs that are not relocated begin
			_, err := unix.ProcessVMReadv(1, []unix.Iovec{{Base: &own[0], Len: 8}}, []unix.RemoteIovec{{Base: text, Len: 8}}, 0)
			return err
		}},
		raw("type into a terminal", unix.SYS_IOCTL, 0, unix.TIOCSTI, zeroed()),
		raw("map page 0 of memory", unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uintptr(0)),
	}
	list = append(list, attempt{"processes that are not of the cell", func() error {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return nil
		}
		for _, e := range entries {
			if n, err := strconv.Atoi(e.Name()); err == nil && n != os.Getpid() {
				return nil
			}
		}
		return errNothing
	}})
	return list
}

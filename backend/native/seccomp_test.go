package native

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// call is a system call as a filter sees it.
type call struct {
	arch, number uint32
	args         [6]uint64
}

// judge runs a filter as the kernel does (seccomp(2), bpf in the kernel's
// net/core/filter.c), as far as filters here go.
func judge(t *testing.T, code []unix.SockFilter, c call) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offsetNumber:], c.number)
	binary.LittleEndian.PutUint32(data[offsetArch:], c.arch)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(data[offsetArgs+8*i:], a)
	}
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		i := code[pc]
		skip := func(yes bool) {
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			skip(a == i.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			skip(a >= i.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			skip(a&i.K != 0)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			t.Fatalf("instruction %d has code %#x", pc, i.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

// TestFilterFindsEveryNumber compares the binary search with the table.
func TestFilterFindsEveryNumber(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		byNumber := actions(rootless)
		code := assemble(byNumber)
		if len(code) > 4096 {
			t.Fatalf("%d instructions, the kernel takes 4096 (BPF_MAXINSNS)", len(code))
		}
		for n := range 2 * uint32(len(byNumber)) {
			want := absent
			if int(n) < len(byNumber) {
				want = byNumber[n]
			}
			if want.check != nil {
				continue // what it says depends on arguments
			}
			if got := judge(t, code, call{arch: auditArch, number: n}); got != want.verdict {
				t.Errorf("system call %d: %#x, want %#x", n, got, want.verdict)
			}
		}
	}
}

func TestFilterKillsOtherABIs(t *testing.T) {
	code := assemble(actions(false))
	for _, c := range []call{
		{arch: unix.AUDIT_ARCH_I386}, {arch: unix.AUDIT_ARCH_ARM}, {arch: 0},
		{arch: auditArch, number: x32Bit}, {arch: auditArch, number: x32Bit | unix.SYS_READ}, {arch: auditArch, number: ^uint32(0)},
	} {
		if got := judge(t, code, c); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("%+v: %#x", c, got)
		}
	}
}

func TestFilterLooksAtArguments(t *testing.T) {
	const rdwr = unix.O_RDWR
	afNoSupport, protoNoSupport := errno(unix.EAFNOSUPPORT), errno(unix.EPROTONOSUPPORT)
	filters := [2][]unix.SockFilter{assemble(actions(false)), assemble(actions(true))}
	for _, test := range []struct {
		name   string
		number uint32
		args   [6]uint64
		want   [2]action // with ids of its own, and rootless
	}{
		{"fork", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, [2]action{allow, allow}},
		{"thread", unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}, [2]action{allow, allow}},
		{"user namespace", unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, [2]action{deny, deny}},
		{"clone3", unix.SYS_CLONE3, [6]uint64{}, [2]action{absent, absent}},
		{"unshare files", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_FILES}, [2]action{allow, allow}},
		{"unshare time", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWTIME}, [2]action{deny, deny}},
		{"unix socket", unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, [2]action{allow, allow}},
		{"tcp", unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, unix.IPPROTO_TCP}, [2]action{allow, allow}},
		{"udp6", unix.SYS_SOCKET, [6]uint64{unix.AF_INET6, unix.SOCK_DGRAM}, [2]action{allow, allow}},
		{"raw", unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_NONBLOCK, 1}, [2]action{deny, deny}},
		{"mptcp", unix.SYS_SOCKET, [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, [2]action{protoNoSupport, protoNoSupport}},
		{"packet", unix.SYS_SOCKET, [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}, [2]action{afNoSupport, afNoSupport}},
		{"vsock", unix.SYS_SOCKET, [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, [2]action{afNoSupport, afNoSupport}},
		{"interface list", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, [2]action{allow, allow}},
		{"nftables", unix.SYS_SOCKET, [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, [2]action{afNoSupport, afNoSupport}},
		{"socketpair", unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_UNIX}, [2]action{allow, allow}},
		{"socketpair of tipc", unix.SYS_SOCKETPAIR, [6]uint64{unix.AF_TIPC}, [2]action{afNoSupport, afNoSupport}},
		{"winsize", unix.SYS_IOCTL, [6]uint64{1, unix.TIOCGWINSZ}, [2]action{allow, allow}},
		{"typing", unix.SYS_IOCTL, [6]uint64{1, unix.TIOCSTI}, [2]action{deny, deny}},
		{"typing, with a high half that the kernel ignores", unix.SYS_IOCTL, [6]uint64{1, 1<<32 | unix.TIOCSTI}, [2]action{deny, deny}},
		{"open to read", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_RDONLY, 0o7777}, [2]action{allow, allow}},
		{"create", unix.SYS_OPENAT, [6]uint64{0, 0, rdwr | unix.O_CREAT, 0o644}, [2]action{allow, allow}},
		{"create set-uid", unix.SYS_OPENAT, [6]uint64{0, 0, rdwr | unix.O_CREAT, 0o4755}, [2]action{deny, deny}},
		{"create set-gid without a name", unix.SYS_OPENAT, [6]uint64{0, 0, rdwr | unix.O_TMPFILE, 0o2755}, [2]action{deny, deny}},
		{"a directory", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_DIRECTORY, 0o7777}, [2]action{allow, allow}},
		{"openat2", unix.SYS_OPENAT2, [6]uint64{}, [2]action{absent, absent}},
		{"chmod sticky", unix.SYS_FCHMODAT, [6]uint64{0, 0, 0o1777}, [2]action{allow, allow}},
		{"chmod set-uid", unix.SYS_FCHMODAT, [6]uint64{0, 0, 0o4755}, [2]action{deny, deny}},
		{"fchmod set-gid", unix.SYS_FCHMOD, [6]uint64{0, 0o2755}, [2]action{deny, deny}},
		{"fchmodat2", unix.SYS_FCHMODAT2, [6]uint64{0, 0, 0o6755}, [2]action{deny, deny}},
		{"personality", unix.SYS_PERSONALITY, [6]uint64{0xffffffff}, [2]action{allow, allow}},
		{"personality without address randomisation", unix.SYS_PERSONALITY, [6]uint64{0x0040000}, [2]action{deny, deny}},
		{"kill PID 1", unix.SYS_KILL, [6]uint64{1, 9}, [2]action{allow, deny}},
		{"kill another", unix.SYS_KILL, [6]uint64{2, 9}, [2]action{allow, allow}},
		{"own limits", unix.SYS_PRLIMIT64, [6]uint64{0}, [2]action{allow, allow}},
		{"limits of PID 1", unix.SYS_PRLIMIT64, [6]uint64{1}, [2]action{allow, deny}},
		{"limits of a thread of PID 1", unix.SYS_PRLIMIT64, [6]uint64{4}, [2]action{allow, deny}},
		{"priority of PID 1", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 1}, [2]action{allow, deny}},
	} {
		for i, code := range filters {
			if got := judge(t, code, call{auditArch, test.number, test.args}); got != test.want[i].verdict {
				t.Errorf("%s (rootless %v): %#x, want %#x", test.name, i == 1, got, test.want[i].verdict)
			}
		}
	}
}

// BenchmarkFilter is what a run pays for its filter before it is loaded.
func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		filter(false)
	}
	b.ReportMetric(float64(len(filter(false))/8), "instructions")
}

package native

import "golang.org/x/sys/unix"

// Bits that arguments may not have.
const (
	// setIDs are S_ISUID and S_ISGID: a file with one of them, in a mount
	// that is writable, is an escalation on the host.
	setIDs = 0o6000
	// namespaces are the CLONE_NEW* flags of clone(2).
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	// creates are the flags of open(2) with which its mode counts.
	creates = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
)

func arg(n uint32) unix.SockFilter { return load(offsetArgs + 8*n) }

// without allows a system call whose argument has none of the bits.
func without(n, bits uint32, otherwise action) action {
	return action{check: &check{code: []unix.SockFilter{
		arg(n), jump(unix.BPF_JSET, bits, 1, 0), ret(allow.verdict), ret(otherwise.verdict),
	}}}
}

// unless allows a system call whose argument is none of the values.
func unless(n uint32, values []uint32, otherwise action) action {
	return action{check: &check{code: append([]unix.SockFilter{arg(n)}, choose(values, otherwise, allow)...)}}
}

// only allows a system call whose argument is one of the values.
func only(n uint32, values []uint32, otherwise action) action {
	return action{check: &check{code: append([]unix.SockFilter{arg(n)}, choose(values, allow, otherwise)...)}}
}

// choose compares what is loaded with the values.
func choose(values []uint32, match, otherwise action) []unix.SockFilter {
	var code []unix.SockFilter
	for i, v := range values {
		code = append(code, jump(unix.BPF_JEQ, v, uint8(len(values)-i), 0))
	}
	return append(code, ret(otherwise.verdict), ret(match.verdict))
}

// opens allows open(2) and openat(2), whose mode counts with some flags only.
func opens(flags, mode uint32) action {
	return action{check: &check{code: []unix.SockFilter{
		arg(flags), jump(unix.BPF_JSET, creates, 1, 0), ret(allow.verdict),
		arg(mode), jump(unix.BPF_JSET, setIDs, 1, 0), ret(allow.verdict), ret(deny.verdict),
	}}}
}

// sockets allows the families that the cell's network and programs are made
// of: local, IPv4 and IPv6 without raw sockets or other transports, and of
// netlink the list of interfaces.
func sockets() action {
	const typeMask = 0xf // SOCK_TYPE_MASK
	refuse := errno(unix.EAFNOSUPPORT).verdict
	return action{check: &check{code: []unix.SockFilter{
		0:  arg(0),
		1:  jump(unix.BPF_JEQ, unix.AF_UNIX, 15, 0),   // → 17
		2:  jump(unix.BPF_JEQ, unix.AF_NETLINK, 2, 0), // → 5
		3:  jump(unix.BPF_JEQ, unix.AF_INET, 4, 0),    // → 8
		4:  jump(unix.BPF_JEQ, unix.AF_INET6, 3, 13),  // → 8, 18
		5:  arg(2),
		6:  jump(unix.BPF_JEQ, unix.NETLINK_ROUTE, 10, 0), // → 17
		7:  ret(refuse),
		8:  arg(1),
		9:  {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: typeMask},
		10: jump(unix.BPF_JEQ, unix.SOCK_RAW, 8, 0), // → 19
		11: arg(2),
		12: jump(unix.BPF_JEQ, 0, 4, 0),
		13: jump(unix.BPF_JEQ, unix.IPPROTO_TCP, 3, 0),
		14: jump(unix.BPF_JEQ, unix.IPPROTO_UDP, 2, 0),
		15: jump(unix.BPF_JEQ, unix.IPPROTO_ICMP, 1, 0),   // as datagrams, for which the kernel asks the group
		16: jump(unix.BPF_JEQ, unix.IPPROTO_ICMPV6, 0, 3), // → 17, 20
		17: ret(allow.verdict),
		18: ret(refuse),
		19: ret(deny.verdict),
		20: ret(errno(unix.EPROTONOSUPPORT).verdict),
	}}}
}

// terminalInput are requests of ioctl(2) with which a program types into the
// terminal of another.
var terminalInput = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

// personalities are those that change what is reported and no protection:
// Linux, 32 bits, a version of 2.6, and the question.
var personalities = []uint32{0, 0x8, 0x20000, 0x20008, 0xffffffff}

// checked returns the system calls that depend on their arguments.
func checked() map[uint32]action {
	return map[uint32]action{
		unix.SYS_CLONE:       without(0, namespaces, deny),
		unix.SYS_CLONE3:      absent,
		unix.SYS_UNSHARE:     without(0, namespaces|unix.CLONE_NEWTIME, deny),
		unix.SYS_SOCKET:      sockets(),
		unix.SYS_SOCKETPAIR:  only(0, []uint32{unix.AF_UNIX}, errno(unix.EAFNOSUPPORT)),
		unix.SYS_IOCTL:       unless(1, terminalInput, deny),
		unix.SYS_PERSONALITY: only(0, personalities, deny),
		unix.SYS_OPENAT:      opens(2, 3),
		unix.SYS_OPENAT2:     absent,
		unix.SYS_FCHMOD:      without(1, setIDs, deny),
		unix.SYS_FCHMODAT:    without(2, setIDs, deny),
		unix.SYS_FCHMODAT2:   without(2, setIDs, deny),
		unix.SYS_MKDIRAT:     without(2, setIDs, deny),
		unix.SYS_MKNODAT:     without(2, setIDs, deny),
	}
}

// aimed returns the system calls that reach another process of the same user by
// its number. PID 1 of a rootless cell is one: nothing that it cannot ignore
// may be aimed at it.
func aimed() map[uint32]action {
	return map[uint32]action{
		unix.SYS_KILL:               unless(0, []uint32{1}, deny),
		unix.SYS_TKILL:              unless(0, []uint32{1}, deny),
		unix.SYS_TGKILL:             unless(0, []uint32{1}, deny),
		unix.SYS_RT_SIGQUEUEINFO:    unless(0, []uint32{1}, deny),
		unix.SYS_RT_TGSIGQUEUEINFO:  unless(0, []uint32{1}, deny),
		unix.SYS_PIDFD_OPEN:         unless(0, []uint32{1}, deny),
		unix.SYS_SCHED_SETPARAM:     unless(0, []uint32{1}, deny),
		unix.SYS_SCHED_SETSCHEDULER: unless(0, []uint32{1}, deny),
		unix.SYS_SCHED_SETATTR:      unless(0, []uint32{1}, deny),
		unix.SYS_SCHED_SETAFFINITY:  unless(0, []uint32{1}, deny),
		unix.SYS_SETPRIORITY:        unless(1, []uint32{1}, deny),
		unix.SYS_IOPRIO_SET:         unless(1, []uint32{1}, deny),
		// The limits of a process can be set by the number of any of its
		// threads, and those of PID 1 are not known: one's own only.
		unix.SYS_PRLIMIT64: only(0, []uint32{0}, deny),
	}
}

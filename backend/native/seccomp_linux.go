package native

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)). The low half of an argument
// comes first: both architectures are little endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32Bit marks the system calls of x86's x32 ABI.
const x32Bit = 0x40000000

// An action is what a system call leads to: a verdict of the kernel, or a
// check of its arguments.
type action struct {
	verdict uint32
	check   *check // if not nil, decides instead of the verdict
}

var (
	allow = action{verdict: unix.SECCOMP_RET_ALLOW}
	deny  = errno(unix.EPERM)
	// A program that is told ENOSYS falls back to what the filter can see
	// through: these take their arguments from memory.
	absent = errno(unix.ENOSYS)
)

func errno(e unix.Errno) action { return action{verdict: unix.SECCOMP_RET_ERRNO | uint32(e)} }

// A check is instructions that end in verdicts.
type check struct{ code []unix.SockFilter }

// filter is the system call filter of a workload, an array of struct
// sock_filter: what is not on the list does not exist for it. A rootless
// workload is the same user as PID 1, which it must not aim at.
func filter(rootless bool) string { return encode(assemble(actions(rootless))) }

// actions is the filter by number, up to the last that is listed.
func actions(rootless bool) []action {
	byNumber := make([]action, 0, 512)
	set := func(n uint32, a action) {
		for uint32(len(byNumber)) <= n {
			byNumber = append(byNumber, deny)
		}
		byNumber[n] = a
	}
	for _, list := range [][]uint32{allowed, allowedHere} {
		for _, n := range list {
			set(n, allow)
		}
	}
	for n, a := range checked() {
		set(n, a)
	}
	for n, a := range checkedHere() {
		set(n, a)
	}
	if rootless {
		for n, a := range aimed() {
			set(n, a)
		}
	}
	return byNumber
}

// assemble compiles a filter: ranges of numbers with the same action, found
// by binary search, so that the cost of a system call does not depend on the
// length of the list.
func assemble(byNumber []action) []unix.SockFilter {
	code := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		ret(unix.SECCOMP_RET_KILL_PROCESS),
	}
	ranges := rangesOf(byNumber)
	var checks []*check
	index := func(c *check) int {
		if i := slices.Index(checks, c); i >= 0 {
			return i
		}
		checks = append(checks, c)
		return len(checks) - 1
	}
	code = append(code, search(ranges, index)...)
	// A leaf that leads to a check holds its number: now that the places are
	// known it gets the distance.
	starts := make([]int, len(checks))
	end := len(code)
	for i, c := range checks {
		starts[i] = end
		end += len(c.code)
	}
	for i := range code {
		if isPending(code[i]) {
			code[i].K = uint32(starts[code[i].K-pending] - i - 1)
		}
	}
	for _, c := range checks {
		code = append(code, c.code...)
	}
	return code
}

// A numberRange is the system calls from a number to the next range.
type numberRange struct {
	from   uint32
	action action
}

func rangesOf(byNumber []action) []numberRange {
	var ranges []numberRange
	// What is newer than the list does not exist.
	for n, a := range append(byNumber, absent) {
		if len(ranges) == 0 || ranges[len(ranges)-1].action != a {
			ranges = append(ranges, numberRange{uint32(n), a})
		}
	}
	return ranges
}

// pending is added to the number of a check in a jump to it, until the
// distance is known. No filter is that long.
const pending = 1 << 20

func isPending(i unix.SockFilter) bool {
	return i.Code == unix.BPF_JMP|unix.BPF_JA && i.K >= pending
}

// search is a binary search for the range that the number is in.
func search(ranges []numberRange, index func(*check) int) []unix.SockFilter {
	if len(ranges) == 1 {
		if c := ranges[0].action.check; c != nil {
			return []unix.SockFilter{far(uint32(pending + index(c)))}
		}
		return []unix.SockFilter{ret(ranges[0].action.verdict)}
	}
	middle := len(ranges) / 2
	low, high := search(ranges[:middle], index), search(ranges[middle:], index)
	var code []unix.SockFilter
	if len(low) <= 255 {
		code = append(code, jump(unix.BPF_JGE, ranges[middle].from, uint8(len(low)), 0))
	} else {
		code = append(code, jump(unix.BPF_JGE, ranges[middle].from, 0, 1), far(uint32(len(low))))
	}
	return append(append(code, low...), high...)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

func far(distance uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: distance}
}

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}

// encode is the filter as the kernel reads it.
func encode(code []unix.SockFilter) string {
	var b strings.Builder
	for _, i := range code {
		var raw [8]byte
		binary.LittleEndian.PutUint16(raw[:], i.Code)
		raw[2], raw[3] = i.Jt, i.Jf
		binary.LittleEndian.PutUint32(raw[4:], i.K)
		b.Write(raw[:])
	}
	return b.String()
}

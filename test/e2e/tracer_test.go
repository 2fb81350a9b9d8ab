package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// role is which process of a run does something.
type role string

const (
	roleSupervisor role = "supervisor" // or cellos gc
	roleInit       role = "init"       // PID 1 of the cell
)

// killPoint is one moment of a run: before or after the nth host-mutating
// system call of a role.
type killPoint struct {
	role  role
	n     int
	after bool
}

func (p killPoint) String() string {
	when := "before"
	if p.after {
		when = "after"
	}
	return fmt.Sprintf("%s-%s-%03d", p.role, when, p.n)
}

// tracer runs a program under ptrace(2) and kills one of its processes at a
// kill point. Unlike strace it counts per role over all threads, and it can
// kill after a call as well as before.
type tracer struct {
	point killPoint

	root    int
	initPID int
	tasks   map[int]*task
	counts  map[role]int
	// killedAt describes the call at which the process was killed; empty if
	// the run ended before its kill point.
	killedAt string
	when     time.Time
}

type task struct {
	tgid    int
	entered string // the mutating call that the task is in, or empty
	hit     bool   // and it is the kill point
}

// traceRun starts the command, kills at the point and waits until every
// process that it started is gone.
func traceRun(cmd *exec.Cmd, point killPoint, limit time.Duration) (*tracer, error) {
	// ptrace requests must come from the thread that started the tracee.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &tracer{point: point, root: cmd.Process.Pid, tasks: map[int]*task{}, counts: map[role]int{}}
	err := t.run(time.Now().Add(limit))
	// The tracer has reaped the process already.
	_ = cmd.Process.Release()
	return t, err
}

const traceOptions = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
	unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL

func (t *tracer) run(deadline time.Time) error {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.root, &status, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	if err := unix.PtraceSetOptions(t.root, traceOptions); err != nil {
		return fmt.Errorf("set options: %w", err)
	}
	t.tasks[t.root] = &task{tgid: t.root}
	if err := unix.PtraceSyscall(t.root, 0); err != nil {
		return fmt.Errorf("continue: %w", err)
	}
	for len(t.tasks) > 0 {
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case tid == 0:
			if time.Now().After(deadline) {
				_ = unix.Kill(t.root, unix.SIGKILL)
				return fmt.Errorf("not over after the time limit; %d tasks left", len(t.tasks))
			}
			runtime.Gosched()
			continue
		}
		t.stopped(tid, status)
	}
	return nil
}

// stopped handles one stop of one task and lets it go on.
func (t *tracer) stopped(tid int, status unix.WaitStatus) {
	if status.Exited() || status.Signaled() {
		delete(t.tasks, tid)
		return
	}
	if !status.Stopped() {
		return
	}
	tk := t.tasks[tid]
	if tk == nil {
		// Its first stop may come before the event of its parent.
		tk = &task{tgid: tgidOf(tid)}
		t.tasks[tid] = tk
	}
	signal := 0
	switch stop := status.StopSignal(); {
	case stop == unix.SIGTRAP|0x80:
		t.systemCall(tid, tk)
	case stop == unix.SIGTRAP && status.TrapCause() > 0:
		if status.TrapCause() == unix.PTRACE_EVENT_EXEC {
			tk.tgid = tgidOf(tid)
			if t.initPID == 0 && strings.HasPrefix(cmdline(tk.tgid), "cellos-init") {
				t.initPID = tk.tgid
			}
		}
	case stop == unix.SIGSTOP:
		// The attach stop of a new task; no workload here sends SIGSTOP.
	default:
		signal = int(stop)
	}
	// A task that was killed meanwhile is no error.
	_ = unix.PtraceSyscall(tid, signal)
}

// roleOf is empty for processes that are nobody's role: the workload.
func (t *tracer) roleOf(tgid int) role {
	switch tgid {
	case t.root:
		return roleSupervisor
	case t.initPID:
		return roleInit
	}
	return ""
}

func (t *tracer) systemCall(tid int, tk *task) {
	who := t.roleOf(tk.tgid)
	if who == "" {
		return
	}
	info, err := syscallInfo(tid)
	if err != nil {
		return
	}
	switch info.op {
	case ptraceSyscallEntry:
		tk.entered, tk.hit = mutating(tk.tgid, info), false
		if tk.entered == "" {
			return
		}
		t.counts[who]++
		tk.hit = t.killedAt == "" && who == t.point.role && t.counts[who] == t.point.n
		if tk.hit && !t.point.after {
			t.kill(tk)
		}
	case ptraceSyscallExit:
		if tk.hit && t.point.after {
			t.kill(tk)
		}
		tk.entered, tk.hit = "", false
	}
}

func (t *tracer) kill(tk *task) {
	t.killedAt = tk.entered
	t.when = time.Now()
	_ = unix.Kill(tk.tgid, unix.SIGKILL)
}

// The operations of PTRACE_GET_SYSCALL_INFO (ptrace(2)).
const (
	ptraceGetSyscallInfo = 0x420e
	ptraceSyscallEntry   = 1
	ptraceSyscallExit    = 2
)

type callInfo struct {
	op   uint8
	nr   uint64
	args [6]uint64
}

func syscallInfo(tid int) (callInfo, error) {
	var raw [88]byte
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), uintptr(len(raw)), uintptr(unsafe.Pointer(&raw)), 0, 0)
	if errno != 0 {
		return callInfo{}, errno
	}
	// op, 3 bytes of padding, arch, instruction pointer, stack pointer, then
	// nr and args at entry.
	info := callInfo{op: raw[0], nr: binary.NativeEndian.Uint64(raw[24:])}
	for i := range info.args {
		info.args[i] = binary.NativeEndian.Uint64(raw[32+8*i:])
	}
	return info, nil
}

// mutations are the calls that change something outside the calling process.
// The filter, if any, says whether this one does.
var mutations = map[uint64]struct {
	name string
	does func(tgid int, info callInfo) bool
}{
	unix.SYS_MKDIRAT:           {"mkdirat", nil},
	unix.SYS_OPENAT:            {"openat(O_CREAT)", func(_ int, c callInfo) bool { return c.args[2]&unix.O_CREAT != 0 }},
	unix.SYS_WRITE:             {"write", toFile},
	unix.SYS_PWRITE64:          {"pwrite64", toFile},
	unix.SYS_RENAMEAT:          {"renameat", nil},
	unix.SYS_RENAMEAT2:         {"renameat2", nil},
	unix.SYS_LINKAT:            {"linkat", nil},
	unix.SYS_SYMLINKAT:         {"symlinkat", nil},
	unix.SYS_UNLINKAT:          {"unlinkat", nil},
	unix.SYS_FALLOCATE:         {"fallocate", nil},
	unix.SYS_FTRUNCATE:         {"ftruncate", nil},
	unix.SYS_FSYNC:             {"fsync", nil},
	unix.SYS_FDATASYNC:         {"fdatasync", nil},
	unix.SYS_FLOCK:             {"flock", nil},
	unix.SYS_FCHMOD:            {"fchmod", nil},
	unix.SYS_FCHMODAT:          {"fchmodat", nil},
	unix.SYS_CLONE:             {"clone", func(_ int, c callInfo) bool { return c.args[0]&unix.CLONE_THREAD == 0 }},
	unix.SYS_CLONE3:            {"clone3", nil},
	unix.SYS_EXECVE:            {"execve", nil},
	unix.SYS_MOUNT:             {"mount", nil},
	unix.SYS_UMOUNT2:           {"umount2", nil},
	unix.SYS_MOUNT_SETATTR:     {"mount_setattr", nil},
	unix.SYS_MOVE_MOUNT:        {"move_mount", nil},
	unix.SYS_PIVOT_ROOT:        {"pivot_root", nil},
	unix.SYS_IOCTL:             {"ioctl(SIOCSIFFLAGS)", func(_ int, c callInfo) bool { return c.args[1] == unix.SIOCSIFFLAGS }},
	unix.SYS_BIND:              {"bind", nil},
	unix.SYS_CONNECT:           {"connect", nil},
	unix.SYS_SENDMSG:           {"sendmsg", nil},
	unix.SYS_SENDTO:            {"sendto", nil},
	unix.SYS_PIDFD_SEND_SIGNAL: {"pidfd_send_signal", nil},
}

func mutating(tgid int, info callInfo) string {
	m, ok := mutations[info.nr]
	if !ok || m.does != nil && !m.does(tgid, info) {
		return ""
	}
	return m.name
}

// toFile is whether a write goes to a file of the host, and not to a pipe, a
// socket or the runtime's event descriptor.
func toFile(tgid int, info callInfo) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tgid, info.args[0]))
	return err == nil && strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/dev/")
}

func tgidOf(tid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return tid
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "Tgid:"); ok {
			tgid := tid
			_, _ = fmt.Sscan(rest, &tgid)
			return tgid
		}
	}
	return tid
}

func cmdline(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(b)
}

package stub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/plan"
)

// A Cell is one PID 1 and everything below it.
type Cell struct {
	pid     int
	start   uint64
	pidfd   int
	control *control
	program cellinit.Program

	killed atomic.Bool   // by us
	done   chan struct{} // closed after status and usage are set
	status syscall.WaitStatus
	usage  syscall.Rusage

	closing sync.Mutex
	closed  bool
}

// Boot clones PID 1 with the plan's namespaces and has it set the cell up.
// Nothing of the workload runs before Start. Stdio and lock are duplicated
// into the cell and stay the caller's to close; the lock is then held by PID 1
// alone, until its death, if the caller closes it.
//
// Boot must be called on a thread that the caller has locked
// (runtime.LockOSThread) and that lives as long as the cell may: the death of
// the thread that clones PID 1, not that of its process, is what kills PID 1
// (PR_SET_PDEATHSIG, prctl(2)).
func (b *Backend) Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (*Cell, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bp, err := compile(p, os.Geteuid(), os.Getegid())
	if err != nil {
		return nil, err
	}
	c, err := clone(b.exe, bp, stdio, lock)
	if err != nil {
		return nil, err
	}
	if err := c.setup(ctx, bp.steps); err != nil {
		c.Kill()
		<-c.done
		c.Close()
		return nil, err
	}
	return c, nil
}

// clone starts PID 1 on the calling thread.
func clone(exe string, b blueprint, stdio [3]*os.File, lock *os.File) (*Cell, error) {
	ctl, theirs, err := newControl()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// In the order of cellinit.ControlFD and cellinit.LockFD.
	files := []uintptr{stdio[0].Fd(), stdio[1].Fd(), stdio[2].Fd(), theirs.Fd(), lock.Fd()}
	pidfd := -1
	pid, err := syscall.ForkExec(exe, []string{cellinit.Arg0}, &syscall.ProcAttr{
		Files: files,
		Sys: &syscall.SysProcAttr{
			Cloneflags:  b.cloneFlags,
			AmbientCaps: b.ambient,
			Pdeathsig:   syscall.SIGKILL,
			Setsid:      true, // a terminal's Ctrl-C is for the supervisor
			PidFD:       &pidfd,
		},
	})
	runtime.KeepAlive(stdio)
	runtime.KeepAlive(lock)
	if err != nil {
		ctl.conn.Close()
		return nil, cloneError(exe, b, err)
	}
	if pidfd < 0 {
		ctl.conn.Close() // which ends PID 1
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return nil, errors.New("clone PID 1: the kernel has no pidfds; CellOS needs Linux 5.11")
	}
	c := &Cell{pid: pid, pidfd: pidfd, control: ctl, program: b.program, done: make(chan struct{})}
	// The number is PID 1's own until await reaps it.
	if c.start, err = startTime(pid); err != nil {
		c.Kill()
	}
	go ctl.receive()
	go c.await()
	if err != nil {
		<-c.done
		c.Close()
		return nil, err
	}
	return c, nil
}

// setup has PID 1 run the steps.
func (c *Cell) setup(ctx context.Context, steps []step) error {
	list := make([]cellinit.Step, len(steps))
	for i, s := range steps {
		list[i] = s.Step
	}
	a, err := c.control.ask(ctx, cellinit.KindSetup, cellinit.EncodeSetup(list))
	if err != nil {
		return fmt.Errorf("set up cell: %w", err)
	}
	switch a.kind {
	case cellinit.KindReady:
		return nil
	case cellinit.KindFailed:
		f, err := cellinit.DecodeFailure(a.payload)
		if err != nil || int(f.At) >= len(steps) {
			return fmt.Errorf("set up cell: %w", cellinit.ErrFrame)
		}
		return &backend.SetupError{Step: steps[f.At].name, Errno: syscall.Errno(f.Errno)}
	}
	closeAll(a.files)
	return fmt.Errorf("set up cell: %w", cellinit.ErrFrame)
}

// await waits for PID 1. Its pidfd is readable only when everything in its pid
// namespace is gone (pidfd_open(2), pid_namespaces(7)).
func (c *Cell) await() {
	defer close(c.done)
	ready := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(ready, -1); err != unix.EINTR {
			break
		}
	}
	for {
		if _, err := syscall.Wait4(c.pid, &c.status, 0, &c.usage); err != syscall.EINTR {
			return
		}
	}
}

// PID is PID 1 as the caller sees it.
func (c *Cell) PID() int { return c.pid }

// StartTime is when PID 1 started, in clock ticks since boot: with the pid it
// names one process of this boot (proc_pid_stat(5), field 22).
func (c *Cell) StartTime() uint64 { return c.start }

// Start runs the plan's program with exactly these variables, K=V. PID 1 ends
// the cell at the deadline, in nanoseconds of CLOCK_BOOTTIME. The pid is the
// workload's inside the cell. A program that cannot be run is a
// *backend.SpawnError; the cell is then to be killed.
func (c *Cell) Start(ctx context.Context, env []string, deadline int64) (pid int, err error) {
	p := c.program
	p.Env, p.Deadline = env, deadline
	if len(p.Argv) == 0 {
		return 0, errors.New("start workload: the plan has no program")
	}
	for _, s := range append(append([]string{p.Dir}, p.Argv...), p.Env...) {
		if strings.IndexByte(s, 0) >= 0 {
			return 0, &backend.SpawnError{Stage: cellinit.StageExec.String(), Errno: syscall.EINVAL}
		}
	}
	a, err := c.control.ask(ctx, cellinit.KindStart, cellinit.EncodeProgram(p))
	if errors.Is(err, syscall.E2BIG) {
		return 0, &backend.SpawnError{Stage: cellinit.StageExec.String(), Errno: syscall.E2BIG}
	}
	if err != nil {
		return 0, fmt.Errorf("start workload: %w", err)
	}
	switch a.kind {
	case cellinit.KindStarted:
		if n, err := cellinit.DecodeNumber(a.payload); err == nil {
			return int(n), nil
		}
	case cellinit.KindFailed:
		if f, err := cellinit.DecodeFailure(a.payload); err == nil {
			return 0, &backend.SpawnError{Stage: cellinit.Stage(f.At).String(), Errno: syscall.Errno(f.Errno)}
		}
	}
	closeAll(a.files)
	return 0, fmt.Errorf("start workload: %w", cellinit.ErrFrame)
}

// Signal sends a signal to the workload, not to its children and not to PID 1.
// To signal a workload that has ended, or not started, is no error.
func (c *Cell) Signal(sig syscall.Signal) error {
	err := c.control.send(cellinit.KindSignal, cellinit.EncodeNumber(uint32(sig)))
	if errors.Is(err, backend.ErrGone) {
		return nil
	}
	return err
}

// Wait waits for the workload, ends the cell and returns when it is gone, and
// with it whatever the workload had left running. It may be called more than
// once.
func (c *Cell) Wait() (backend.Exit, error) {
	select {
	case <-c.control.ended:
	case x := <-c.control.exited:
		c.control.exited <- x // for the next call
		// If the word does not arrive, the end of the socket does.
		if c.control.send(cellinit.KindExit, nil) != nil {
			c.control.conn.Close()
		}
	}
	// A socket that ended without the death of PID 1 was closed for what it
	// had sent; PID 1 ends for that.
	<-c.done
	// What PID 1 sent last may not have been read.
	<-c.control.ended
	return c.exit(), nil
}

// exit says how the cell ended, of one that has.
func (c *Cell) exit() backend.Exit {
	total := (c.usage.Utime.Nano() + c.usage.Stime.Nano()) / 1000
	e := backend.Exit{CPUMicros: total, MaxRSS: int64(c.usage.Maxrss) << 10}
	select {
	case x := <-c.control.exited:
		c.control.exited <- x
		e.CPUMicros = max(int64(x.CPUMicros), total-int64(x.InitCPUMicros))
		status := syscall.WaitStatus(x.Status)
		if status.Signaled() {
			e.Signal = status.Signal()
		} else {
			e.Code = status.ExitStatus()
		}
		return e
	default:
	}
	e.Signal = syscall.SIGKILL
	e.Reason = c.reason()
	return e
}

// reason says why a cell ended whose workload had not.
func (c *Cell) reason() backend.Reason {
	switch {
	case c.status.Exited() && c.status.ExitStatus() == cellinit.ExitDeadline:
		return backend.Expired
	case c.killed.Load():
		return backend.Ended
	}
	return backend.InitKilled
}

// Kill ends the cell at once: PID 1 is killed, and the kernel kills the rest.
func (c *Cell) Kill() {
	c.killed.Store(true)
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.closed {
		return
	}
	// Of a process that is gone the pidfd says so; there is nothing to do.
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
}

// Done is closed when the whole cell is gone: the pidfd of PID 1 has said so,
// which it does only after the last process of the pid namespace.
func (c *Cell) Done() <-chan struct{} { return c.done }

// Close kills the cell, if it is not gone, waits for that and releases the
// descriptors.
func (c *Cell) Close() error {
	c.Kill()
	<-c.done
	c.control.conn.Close()
	<-c.control.ended
	c.closing.Lock()
	defer c.closing.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if err := unix.Close(c.pidfd); err != nil {
		return fmt.Errorf("close pidfd of cell: %w", err)
	}
	return nil
}

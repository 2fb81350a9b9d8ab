package nsproc

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
)

// A Cell is one PID 1 and everything below it.
type Cell struct {
	pid     int
	start   uint64
	pidfd   int
	control *control
	program cellinit.Program
	secrets *Secrets

	killed atomic.Bool   // by us
	done   chan struct{} // closed after status and usage are set
	status syscall.WaitStatus
	usage  syscall.Rusage

	closing sync.Mutex
	closed  bool
}

// Init is a PID 1 to be.
type Init struct {
	// Exe is the program that is executed as PID 1. It must link package
	// cellinit, and whoever PID 1 is must be able to execute it.
	Exe string
	// Sys has the namespaces, ids and capabilities of PID 1. How it dies is
	// added.
	Sys syscall.SysProcAttr
	// Stdio are for the workload.
	Stdio [3]*os.File
	// Held are open in PID 1 for its life, and used for nothing: first the
	// lock whose release proves its death, then whatever is to be released
	// with it.
	Held []*os.File
}

// Setup is what PID 1 does before it is ready.
type Setup struct {
	Steps []Step
	// Files are what steps refer to by index. They are duplicated.
	Files []*os.File
	// Program is for Start, without its variables and its deadline.
	Program cellinit.Program
	// Secrets is where files are delivered; nil is nowhere.
	Secrets *Secrets
}

// Secrets is a directory of the cell for files that the workload alone reads.
type Secrets struct {
	Dir string
	// Owner is who the files belong to, and Init who PID 1 is. Without them
	// PID 1 is the workload's user.
	Owner, Init *cellinit.User
}

// A Step of set-up and its name for a message.
type Step struct {
	Name string
	cellinit.Step
}

// Boot clones PID 1 on the calling thread, which must be locked
// (runtime.LockOSThread) and live as long as the cell may: the death of the
// thread that clones PID 1, not that of its process, is what kills PID 1
// (PR_SET_PDEATHSIG, prctl(2)).
//
// While PID 1 starts, prepare makes its set-up. If that or the set-up fails,
// nothing of the cell is left when Boot returns.
func Boot(ctx context.Context, i Init, prepare func() (Setup, error)) (*Cell, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := clone(i)
	if err != nil {
		return nil, err
	}
	s, err := prepare()
	if err == nil {
		c.program, c.secrets = s.Program, s.Secrets
		err = c.setup(ctx, s)
	}
	if err != nil {
		c.Kill()
		<-c.done
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// clone starts PID 1.
func clone(i Init) (*Cell, error) {
	ctl, theirs, err := newControl()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	// In the order of cellinit.ControlFD and cellinit.LockFD.
	files := []uintptr{i.Stdio[0].Fd(), i.Stdio[1].Fd(), i.Stdio[2].Fd(), theirs.Fd()}
	for _, f := range i.Held {
		files = append(files, f.Fd())
	}
	pidfd := -1
	sys := i.Sys
	sys.Pdeathsig = syscall.SIGKILL
	sys.Setsid = true // a terminal's Ctrl-C is for the supervisor
	sys.PidFD = &pidfd
	pid, err := syscall.ForkExec(i.Exe, []string{cellinit.Arg0}, &syscall.ProcAttr{Files: files, Sys: &sys})
	runtime.KeepAlive(i)
	if err != nil {
		ctl.conn.Close()
		return nil, cloneError(i, err)
	}
	if pidfd < 0 {
		ctl.conn.Close() // which ends PID 1
		_, _ = syscall.Wait4(pid, nil, 0, nil)
		return nil, errors.New("clone PID 1: the kernel has no pidfds; CellOS needs Linux 5.11")
	}
	c := &Cell{pid: pid, pidfd: pidfd, control: ctl, done: make(chan struct{})}
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

// cloneError explains why the kernel refused a PID 1.
func cloneError(i Init, err error) error {
	switch {
	case errors.Is(err, syscall.EPERM) && i.Sys.Cloneflags&syscall.CLONE_NEWUSER != 0,
		errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("clone PID 1: %w: user namespaces are not available to uid %d; "+
			"see user.max_user_namespaces and, on Debian and Ubuntu, kernel.unprivileged_userns_clone "+
			"and kernel.apparmor_restrict_unprivileged_userns", err, os.Getuid())
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("clone PID 1: %w: namespaces need CAP_SYS_ADMIN", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("execute %s as PID 1: %w: whoever it runs as must be able to execute it (mode 0755)", i.Exe, err)
	}
	return fmt.Errorf("clone PID 1: %w", err)
}

// setup has PID 1 run the steps.
func (c *Cell) setup(ctx context.Context, s Setup) error {
	list := make([]cellinit.Step, len(s.Steps))
	for i, step := range s.Steps {
		list[i] = step.Step
	}
	if err := c.control.attach(s.Files); err != nil {
		return fmt.Errorf("set up cell: %w", err)
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
		if err != nil || int(f.At) >= len(s.Steps) {
			return fmt.Errorf("set up cell: %w", cellinit.ErrFrame)
		}
		return &backend.SetupError{Step: s.Steps[f.At].Name, Errno: syscall.Errno(f.Errno)}
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

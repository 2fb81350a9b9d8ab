package supervisor

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/boottime"
)

// wait sees the workload to its end and then ends the rest of the cell, so
// that nothing runs, and nothing more can be observed, when it returns.
func (c *run) wait(_ context.Context) Outcome {
	exit, why, err := c.untilExit()
	c.stopWatching()
	lasted := boottime.Now() - c.started

	if endErr := c.endCell(); endErr != nil {
		err = errors.Join(err, endErr)
	}
	// What follows fits into the reserve of the journal.
	if closingErr := c.trail.Closing(); closingErr != nil {
		err = errors.Join(err, closingErr)
	}
	completed := event.CommandCompleted{
		Argv: c.plan.Process.Argv, DurationMs: lasted.Milliseconds(), Reason: why.reason,
		Usage: &event.Usage{CPUMicros: exit.CPUMicros, MemoryPeakBytes: exit.MaxRSS},
	}
	if exit.Signal != 0 {
		completed.Signal = unix.SignalName(exit.Signal)
	} else {
		completed.ExitCode = &exit.Code
	}
	c.commandExit = completed.ExitCode
	if emitErr := c.emit(completed); emitErr != nil {
		return failed("run", emitErr)
	}
	// A run that was ended because its trail failed says so itself: what
	// failed after that is the same failure once more.
	if err != nil && why.code != ExitIncomplete {
		return failed("run", incomplete(err))
	}
	return c.judge(exit, why)
}

// ending is why a run was ended from outside; the zero value is a workload
// that ended by itself.
type ending struct {
	reason string
	code   int
	detail string
}

// untilExit waits for the workload and ends it when its time is over, when it
// is interrupted, or when its trail fails. The first reason counts.
func (c *run) untilExit() (backend.Exit, ending, error) {
	var timers timers
	defer timers.stop()
	t := c.plan.Time
	lifetime := timers.at(c.deadline)
	var timeout, politely <-chan struct{}
	if t.Timeout > 0 && t.Timeout < c.deadline-c.started {
		timeout = timers.at(c.started + t.Timeout)
	}
	if t.Grace < t.TTL/2 {
		politely = timers.at(c.deadline - t.Grace)
	}

	type result struct {
		exit backend.Exit
		err  error
	}
	exited := make(chan result, 1)
	go func() {
		exit, err := c.cell.Wait()
		exited <- result{exit, err}
	}()

	var why ending
	var killed <-chan struct{}
	// A cell whose processes cannot die is not waited for for ever.
	var stuck <-chan time.Time
	killNow := func() {
		c.cell.Kill()
		if stuck == nil {
			stuck = time.After(killTimeout)
		}
	}
	// terminate asks the workload to end, and kills the cell if it does not.
	terminate := func(e ending) {
		if why.reason == "" {
			why = e
			// A workload that cannot be signalled has ended.
			_ = c.cell.Signal(syscall.SIGTERM)
			killed = timers.at(min(boottime.Now()+t.Grace, c.deadline))
		}
	}
	kill := func(e ending) {
		if why.reason == "" {
			why = e
		}
		killNow()
	}
	urgent, lost := c.urgent, c.evidence.lost
	for {
		if timers.err != nil {
			c.cell.Kill()
			return (<-exited).exit, why, timers.err
		}
		select {
		case r := <-exited:
			return r.exit, why, r.err
		case <-timeout:
			timeout = nil
			terminate(ending{reasonTimeout, ExitTimeout, fmt.Sprintf("the run took longer than its timeout of %v", t.Timeout)})
		case <-politely:
			politely = nil
			terminate(c.expired())
		case <-lifetime:
			lifetime = nil
			kill(c.expired())
		case <-killed:
			killed = nil
			killNow()
		case sig := <-c.interrupt:
			terminate(ending{reasonInterrupted, exitSignalBase + int(sig), fmt.Sprintf("interrupted by %v", sig)})
		case <-urgent:
			urgent = nil
			killNow()
		case <-stuck:
			return backend.Exit{Signal: syscall.SIGKILL}, why, fmt.Errorf("the cell is still there %v after it was killed", killTimeout)
		case <-lost:
			lost = nil
			err, _ := c.evidence.failures()
			o := failed("run", err)
			kill(ending{o.Reason, o.Code, o.Detail + "; the cell was killed, because nothing runs without a trail"})
		}
	}
}

func (c *run) expired() ending {
	return ending{reasonTTL, ExitTimeout, fmt.Sprintf("the lifetime of the cell, %v, is over", c.plan.Time.TTL)}
}

// withinLifetime returns a context that ends with the lifetime of the cell. It
// is for what precedes the workload; from then on PID 1 has a clock as well.
func (c *run) withinLifetime(ctx context.Context) (context.Context, context.CancelFunc) {
	e := c.expired()
	return context.WithTimeoutCause(ctx, c.deadline-boottime.Now(), refuse(e.code, e.reason, errors.New(e.detail)))
}

// stopped is the error of a step that was given up because its context had
// ended: what ended it is the reason.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return cause
	}
	return err
}

// judge turns the end of the workload into the outcome of the run.
func (c *run) judge(exit backend.Exit, why ending) Outcome {
	if why.reason == "" && exit.Reason == backend.Expired {
		why = c.expired()
	}
	switch {
	case why.reason != "":
		return Outcome{Code: why.code, Source: FromSupervisor, Reason: why.reason, Detail: why.detail}
	case exit.Reason == backend.InitKilled:
		return Outcome{Code: exitSignalBase + int(syscall.SIGKILL), Source: FromSupervisor, Reason: reasonInitKilled,
			Detail: "PID 1 of the cell was killed, and the workload with it"}
	case exit.Signal != 0:
		return Outcome{Code: exitSignalBase + int(exit.Signal), Source: FromWorkload, Reason: reasonSignaled,
			Detail: "the workload was ended by " + unix.SignalName(exit.Signal)}
	case exit.Code != 0:
		return Outcome{Code: exit.Code, Source: FromWorkload, Reason: reasonExited, Detail: fmt.Sprintf("the workload exited with code %d", exit.Code)}
	}
	return Outcome{Source: FromWorkload, Reason: reasonExited}
}

// timers are the points of the boot clock that one run waits for.
type timers struct {
	running []*boottime.Timer
	err     error
}

func (t *timers) at(deadline time.Duration) <-chan struct{} {
	timer, err := boottime.At(deadline)
	if err != nil {
		t.err = errors.Join(t.err, err)
		return nil
	}
	t.running = append(t.running, timer)
	return timer.C
}

func (t *timers) stop() {
	for _, timer := range t.running {
		timer.Stop()
	}
}

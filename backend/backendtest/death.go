package backendtest

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/internal/testenv"
)

// deathTests are about ends: whatever ends a cell ends all of it.
func deathTests(t *testing.T, s *suite) {
	t.Run("Orphans", s.testOrphans)
	t.Run("Kill", s.testKill)
	t.Run("KillIdle", s.testKillIdle)
	t.Run("Stopped", s.testStopped)
	t.Run("Storm", s.testStorm)
	t.Run("Deadline", s.testDeadline)
	t.Run("InitKilled", s.testInitKilled)
	t.Run("SupervisorKilled", s.testSupervisorKilled)
	t.Run("SupervisorStopped", s.testSupervisorStopped)
}

// testOrphans leaves processes behind and looks for them on the host.
func (s *suite) testOrphans(t *testing.T) {
	r := s.run(t, "orphans", "5")
	pid := r.cell.PID()
	r.ready()
	if x := r.exit(); x.Code != 0 {
		t.Errorf("exit %+v: %s", x, r.stderr)
	}
	if left := testenv.Descendants(pid); len(left) != 0 || testenv.Alive(pid) {
		t.Errorf("left: %v", left)
	}
}

func (s *suite) testKill(t *testing.T) {
	r := s.run(t, "deaf")
	r.ready()
	below := testenv.Descendants(r.cell.PID())
	if len(below) == 0 {
		t.Error("the workload is not below PID 1")
	}
	r.cell.Kill()
	r.cell.Kill()
	if x := r.exit(); x.Signal != syscall.SIGKILL || x.Reason != backend.Ended {
		t.Errorf("got %+v", x)
	}
	for _, p := range below {
		if testenv.Alive(p.PID) {
			t.Errorf("%v is alive", p)
		}
	}
	if x, err := r.cell.Wait(); err != nil || x.Signal != syscall.SIGKILL {
		t.Errorf("second Wait: %+v, %v", x, err)
	}
	if err := r.cell.Close(); err != nil {
		t.Error(err)
	}
	r.cell.Kill() // of a cell that is closed: nothing
}

func (s *suite) testKillIdle(t *testing.T) {
	r := s.boot(t, s.plan("sleep"))
	r.cell.Kill()
	if x := r.exit(); x.Signal != syscall.SIGKILL || x.Reason != backend.Ended {
		t.Errorf("got %+v", x)
	}
	if _, err := r.cell.Start(t.Context(), nil, 0); err == nil {
		t.Error("started in a cell that is gone")
	}
}

func (s *suite) testStopped(t *testing.T) {
	r := s.run(t, "stopped")
	r.ready()
	// It is not in the way of a kill that it cannot take the signal.
	if err := r.cell.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	r.cell.Kill()
	if x := r.exit(); x.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", x)
	}
}

func (s *suite) testStorm(t *testing.T) {
	r := s.run(t, "storm", "2")
	r.ready()
	pid := r.cell.PID()
	testenv.Eventually(t, patience, func() error {
		if n := len(testenv.Descendants(pid)); n < 10 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	began := time.Now()
	r.cell.Kill()
	r.exit()
	t.Logf("gone after %v", time.Since(began))
	if left := testenv.Descendants(pid); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// boottime is the clock of deadlines, in nanoseconds.
func boottime() (int64, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return now.Nano(), err
}

func (s *suite) testDeadline(t *testing.T) {
	for name, left := range map[string]time.Duration{
		"to come": 300 * time.Millisecond,
		"past":    -time.Second,
	} {
		r := s.boot(t, s.plan("deaf"))
		now, err := boottime()
		if err != nil {
			t.Fatal(err)
		}
		deadline := now + int64(left)
		// The deadline may pass before PID 1 has answered.
		if _, err := r.cell.Start(t.Context(), nil, deadline); err != nil && !errors.Is(err, backend.ErrGone) {
			t.Fatal(err)
		}
		if x := r.exit(); x.Reason != backend.Expired || x.Signal != syscall.SIGKILL {
			t.Errorf("a deadline %s: got %+v", name, x)
		}
		if now, err := boottime(); err != nil || now < deadline {
			t.Errorf("ended %v early", time.Duration(deadline-now))
		}
	}
}

func (s *suite) testInitKilled(t *testing.T) {
	r := s.run(t, "deaf")
	r.ready()
	if err := syscall.Kill(r.cell.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if x := r.exit(); x.Reason != backend.InitKilled || x.Signal != syscall.SIGKILL {
		t.Errorf("got %+v", x)
	}
}

// testSupervisorKilled kills the process that booted the cell, many times,
// while the cell holds processes that would rather live.
func (s *suite) testSupervisorKilled(t *testing.T) {
	var slowest time.Duration
	for range s.harness.Kills {
		v := s.supervise(t, supervision{Args: []string{"orphans", "3"}, Hold: true})
		all := testenv.Descendants(v.pid1)
		if len(all) < 3 {
			t.Fatalf("only %v below PID 1", all)
		}
		began := time.Now()
		v.kill()
		testenv.Eventually(t, patience, func() error {
			for _, p := range append(all, testenv.Process{PID: v.pid1}) {
				if testenv.Alive(p.PID) {
					return fmt.Errorf("process %d %s is alive", p.PID, p.Name)
				}
			}
			return nil
		})
		slowest = max(slowest, time.Since(began))
		if !lockFree(t, v.lock) {
			t.Fatal("the lock of PID 1 is held by something else")
		}
	}
	t.Logf("the slowest of %d cells was gone after %v", s.harness.Kills, slowest)
}

// testSupervisorStopped stops the supervisor before the deadline: PID 1 keeps
// it alone.
func (s *suite) testSupervisorStopped(t *testing.T) {
	v := s.supervise(t, supervision{Args: []string{"deaf"}, TTL: 2 * time.Second})
	if err := v.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	all := testenv.Descendants(v.pid1)
	testenv.Eventually(t, patience, func() error {
		for _, p := range append(all, testenv.Process{PID: v.pid1}) {
			if testenv.Alive(p.PID) {
				return fmt.Errorf("process %d %s is alive", p.PID, p.Name)
			}
		}
		return nil
	})
	if p := stateOf(v.process.Pid); p != 'T' {
		t.Errorf("the supervisor is in state %c, want stopped", p)
	}
	v.kill()
}

func stateOf(pid int) byte {
	for _, p := range testenv.Processes() {
		if p.PID == pid {
			return p.State
		}
	}
	return '?'
}

// pidLine reads the word of a supervised cell.
func pidLine(line string) (int, error) {
	var pid int
	if _, err := fmt.Sscanf(line, "pid1 %d\n", &pid); err != nil {
		return 0, errors.New("the supervisor says " + strconv.Quote(line))
	}
	return pid, nil
}

package testenv

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long what the tests made may take to go away by itself: the
// kernel frees a network namespace some time after its last process.
const settle = 10 * time.Second

// Main runs the tests of a package and compares the machine before and after.
// It returns the status for os.Exit: that of the tests, or 1 if something was
// left.
//
// For the run TMPDIR is a directory of its own, readable by every user, and
// this process adopts its orphaned descendants, so that none can hide.
func Main(m *testing.M) int {
	tmp, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	defer os.RemoveAll(tmp)
	if err := prepare(tmp); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	before := take(tmp)
	code := m.Run()
	left := Leftovers(before, settle)
	if len(left) == 0 {
		return code
	}
	fmt.Fprintf(os.Stderr, "testenv: the tests left %d things behind:\n", len(left))
	for _, l := range left {
		fmt.Fprintln(os.Stderr, "\t"+l)
	}
	if code == 0 {
		code = 1
	}
	return code
}

func prepare(tmp string) error {
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", tmp); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	return nil
}

// Leftovers compares the machine with a snapshot until nothing is left over
// or the time has passed, and returns a line for each thing that is.
func Leftovers(before Snapshot, within time.Duration) []string {
	deadline := time.Now().Add(within)
	for {
		reap()
		left := before.added(take(before.tmp))
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		pause()
	}
}

// pause is the step of a poll.
func pause() { time.Sleep(10 * time.Millisecond) }

// reap takes the statuses of orphans that this process was left. It must not
// run while something still waits for a child of its own.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
	}
}

// Eventually polls a condition until it holds, and fails the test with what
// the condition said last if it does not within the time.
func Eventually(t testing.TB, within time.Duration, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", within, err)
		}
		pause()
	}
}

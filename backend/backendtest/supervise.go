package backendtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/testenv"
)

// superviseVar tells a test binary that it is a supervisor, and of what.
const superviseVar = "CELLOS_BACKENDTEST_SUPERVISE"

// A supervision is what a supervisor process is told.
type supervision struct {
	Probe string
	Args  []string
	TTL   time.Duration // from the start of the program; 0 is for ever
	Lock  string
	Hold  bool // do not wait for the workload: leave the cell as it is
}

// Main runs the tests of a backend as testenv.Main does, or the supervisor
// that one of them asked for. Either way the process is non-dumpable, as
// CellOS is.
func Main(m *testing.M, harness func() Harness) int {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	told := os.Getenv(superviseVar)
	if told == "" {
		return testenv.Main(m)
	}
	if err := beSupervisor(harness(), told); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// beSupervisor boots a cell, says its pid, starts the program and, unless it
// is to hold, waits. It ends when its input does.
func beSupervisor(h Harness, told string) error {
	runtime.LockOSThread() // for good: the cell lives as long as this thread
	var v supervision
	if err := json.Unmarshal([]byte(told), &v); err != nil {
		return err
	}
	s := &suite{harness: h, probe: v.Probe}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(v.Lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	ctx := context.Background()
	cell, err := h.Boot(ctx, s.plan(v.Args...), [3]*os.File{null, os.Stdout, os.Stderr}, lock)
	if err != nil {
		return err
	}
	lock.Close()
	fmt.Printf("pid1 %d\n", cell.PID())
	var deadline int64
	if v.TTL != 0 {
		now, err := boottime()
		if err != nil {
			return err
		}
		deadline = now + int64(v.TTL)
	}
	if _, err := cell.Start(ctx, nil, deadline); err != nil {
		return err
	}
	if !v.Hold {
		if _, err := cell.Wait(); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A supervisor is another process with a cell.
type supervisor struct {
	cmd     *exec.Cmd
	process *os.Process
	pid1    int
	lock    string
}

// supervise starts one and waits until the cell's program is ready.
func (s *suite) supervise(t *testing.T, v supervision) *supervisor {
	t.Helper()
	v.Probe, v.Lock = s.probe, filepath.Join(t.TempDir(), "init.lock")
	told, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), superviseVar+"="+string(told))
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sup := &supervisor{cmd: cmd, process: cmd.Process, lock: v.Lock}
	t.Cleanup(sup.kill)
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the supervisor says %q: %v", line, err)
	}
	if sup.pid1, err = pidLine(line); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the workload says %q: %v", line, err)
	}
	return sup
}

// kill ends the supervisor as kill -9 does. The test must not end before.
func (v *supervisor) kill() {
	if v.cmd.ProcessState == nil {
		_ = v.process.Kill()
		_ = v.cmd.Wait() // says that it was killed
	}
}

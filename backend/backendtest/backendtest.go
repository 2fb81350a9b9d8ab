// Package backendtest is the conformance suite of backends: what package
// supervisor relies on, as tests.
//
// A backend's tests have a harness of a few lines and two calls:
//
//	func TestMain(m *testing.M) { os.Exit(backendtest.Main(m, harness)) }
//	func TestConformance(t *testing.T) { backendtest.Run(t, harness) }
//
// Some tests need a supervisor that can be stopped and killed. That is the
// test binary executed again: Main notices it and boots the cell it is told.
package backendtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

// patience is how long a test waits for what must happen. It says nothing
// about how long that should take.
const patience = 30 * time.Second

// A Harness is one backend in one configuration.
type Harness struct {
	// Boot is the backend's.
	Boot func(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (Cell, error)
	// Namespaces are asked of every cell.
	Namespaces plan.Namespaces
	// Unprivileged says that the workload has no capability at all.
	Unprivileged bool
	// Kills is how often the supervisor of a cell is killed.
	Kills int
	// ProtectsInit says that the workload cannot open what belongs to PID 1.
	ProtectsInit bool
	// Isolated says that the workload reaches nothing of the host but what
	// its plan names, and is refused what could change that.
	Isolated bool
}

// Cell is what package supervisor uses of a cell.
type Cell interface {
	PID() int
	ListenUDP(netip.AddrPort) (*net.UDPConn, error)
	ListenTCP(netip.AddrPort) (*net.TCPListener, error)
	Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	Start(ctx context.Context, env []string, deadline int64) (pid int, err error)
	Signal(syscall.Signal) error
	Wait() (backend.Exit, error)
	Kill()
	Done() <-chan struct{}
	Close() error
}

// Run runs the suite.
func Run(t *testing.T, harness func() Harness) {
	s := &suite{harness: harness(), probe: Probe(t)}
	for _, group := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"Process", processTests},
		{"Death", deathTests},
		{"Network", networkTests},
		{"Isolation", isolationTests},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, s) })
	}
}

type suite struct {
	harness Harness
	probe   string // the program of ./probe
}

// ProbeVar names an existing probe for a test binary that runs as a user who
// cannot build one.
const ProbeVar = "CELLOS_BACKENDTEST_PROBE"

// Probe builds the workload: static, so that it runs in any file view. The
// file goes with the test.
func Probe(t *testing.T) string {
	if path := os.Getenv(ProbeVar); path != "" {
		return path
	}
	path := filepath.Join(shared(t), "probe")
	cmd := exec.Command("go", "build", "-o", path, "cellos.io/cellos/backend/backendtest/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v\n%s", err, out)
	}
	return path
}

// plan is a cell that runs the probe.
func (s *suite) plan(args ...string) *plan.Plan {
	return &plan.Plan{
		Unshare: s.harness.Namespaces,
		Process: &plan.Process{Argv: append([]string{s.probe}, args...), Dir: "/", OpenFiles: 256},
	}
}

// A running is a cell and what comes out of it.
type running struct {
	t              *testing.T
	cell           Cell
	stdout, stderr *stream
	lock           string
}

// boot boots a cell. It is killed with the test.
func (s *suite) boot(t *testing.T, p *plan.Plan) *running {
	t.Helper()
	r, err := s.tryBoot(t, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *suite) tryBoot(t *testing.T, p *plan.Plan) (*running, error) {
	t.Helper()
	// PID 1 dies with the thread that made it.
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)

	r := &running{t: t, lock: filepath.Join(t.TempDir(), "init.lock")}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	lock := heldLock(t, r.lock)
	defer lock.Close()
	var out, errs *os.File
	r.stdout, out = newStream(t)
	r.stderr, errs = newStream(t)
	defer out.Close()
	defer errs.Close()

	cell, err := s.harness.Boot(t.Context(), p, [3]*os.File{null, out, errs}, lock)
	if err != nil {
		return nil, err
	}
	r.cell = cell
	t.Cleanup(func() {
		if err := cell.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, nil
}

// run boots a cell and starts its program.
func (s *suite) run(t *testing.T, args ...string) *running {
	t.Helper()
	r := s.boot(t, s.plan(args...))
	r.start()
	return r
}

func (r *running) start(env ...string) {
	r.t.Helper()
	pid, err := r.cell.Start(r.t.Context(), env, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	if pid < 2 {
		r.t.Fatalf("the pid of the workload is %d", pid)
	}
}

// ready waits for the program's word.
func (r *running) ready() {
	r.t.Helper()
	r.stdout.waitFor(r.t, "ready\n")
}

// exit waits for the end of the cell and of its output.
func (r *running) exit() backend.Exit {
	r.t.Helper()
	type result struct {
		exit backend.Exit
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		x, err := r.cell.Wait()
		ended <- result{x, err}
	}()
	select {
	case e := <-ended:
		if e.err != nil {
			r.t.Fatal(e.err)
		}
		select {
		case <-r.cell.Done():
		default:
			r.t.Error("Wait returned while the cell was there")
		}
		r.stdout.end(r.t)
		r.stderr.end(r.t)
		if !lockFree(r.t, r.lock) {
			r.t.Error("the lock of PID 1 outlived it")
		}
		return e.exit
	case <-time.After(patience):
		r.t.Fatal("the cell does not end")
	}
	panic("unreachable")
}

// output is what the program printed, of one that exits with 0.
func (s *suite) output(t *testing.T, args ...string) string {
	t.Helper()
	r := s.run(t, args...)
	if x := r.exit(); x.Code != 0 || x.Signal != 0 || x.Reason != "" {
		t.Fatalf("exit %+v: %s%s", x, r.stdout, r.stderr)
	}
	return r.stdout.String()
}

// heldLock returns an open file with a lock, as the supervisor hands over.
func heldLock(t *testing.T, path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return f
}

// lockFree reports whether nothing holds the lock.
func lockFree(t *testing.T, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// A stream collects one output of a cell.
type stream struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ended chan struct{}
}

func newStream(t *testing.T) (*stream, *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		defer r.Close()
		_, _ = io.Copy(s, r)
	}()
	// A stream that a failed test left open must not be one of the
	// leftovers that hide the failure.
	t.Cleanup(func() { s.end(t) })
	return s, w
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *stream) waitFor(t *testing.T, text string) {
	t.Helper()
	testenv.Eventually(t, patience, func() error {
		if got := s.String(); !strings.Contains(got, text) {
			return &missingError{text, got}
		}
		return nil
	})
}

// end waits until the last writer is gone.
func (s *stream) end(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Error("something still holds the output of the cell")
	}
}

type missingError struct{ want, got string }

func (e *missingError) Error() string { return "no " + e.want + " in " + e.got }

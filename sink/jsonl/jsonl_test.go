package jsonl

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/sink"
	"cellos.io/cellos/sink/sinktest"
)

// limitVar makes the test binary write one record past a limit of its own.
const limitVar = "CELLOS_JSONL_TEST_PATH"

func TestMain(m *testing.M) {
	if path := os.Getenv(limitVar); path != "" {
		os.Exit(writeBeyondLimit(path))
	}
	os.Exit(m.Run())
}

type harness struct {
	path  string
	sinks []*Sink
}

func (h *harness) Open(t *testing.T) sink.Sink {
	s, err := Open(h.path)
	if err != nil {
		t.Fatal(err)
	}
	h.sinks = append(h.sinks, s)
	return s
}

func (h *harness) Records(t *testing.T) [][]byte {
	text, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte{'\n'})
	return lines[:len(lines)-1]
}

// Break closes the descriptor behind the sink's back.
func (h *harness) Break(*testing.T) bool {
	for _, s := range h.sinks {
		s.file.Close()
	}
	return true
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		return &harness{path: filepath.Join(t.TempDir(), "events.jsonl")}
	})
}

func write(t *testing.T, path, record string) {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Write([]byte(record)); err != nil {
		t.Fatal(err)
	}
}

func TestForeignTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte("{}\n{\"torn\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, path, "{\"a\":1}\n")
	write(t, path, "{\"a\":2}\n")
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "{}\n{\"torn\":\n{\"a\":1}\n{\"a\":2}\n" {
		t.Errorf("%v: %q", err, text)
	}
}

// writeBeyondLimit writes two records where RLIMIT_FSIZE has room for one and
// a half, so that the second write(2) is short.
func writeBeyondLimit(path string) int {
	s, err := Open(path)
	if err != nil {
		return 2
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 150, Max: 150}); err != nil {
		return 3
	}
	record := []byte(strings.Repeat("x", 99) + "\n")
	if s.Write(record) != nil {
		return 4
	}
	if err := s.Write(record); err == nil {
		return 5
	}
	return 0
}

func TestShortWriteIsTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), limitVar+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 100 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none", "x")} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	path := filepath.Join(dir, "new")
	write(t, path, "{}\n")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path) // read and write, so that it does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Write([]byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var buf [8]byte
	if n, err := r.Read(buf[:]); err != nil || string(buf[:n]) != "{}\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// Somebody who stops while holding the lock does not stop us for ever; that
// the wait ends is in lock, that it is a wait is here.
func TestLockIsHonoured(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Write([]byte("{}\n")) }()
	select {
	case err := <-done:
		t.Errorf("wrote under another's lock: %v", err)
	default:
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What is asked for is found wherever it lies, also across the border of two
// windows, and what is not there is not.
func TestHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	record := `{"a":"` + strings.Repeat("x", 300) + "\"}\n"
	for _, behind := range []int{0, 1, 100, searchWindow - 200, searchWindow, 2*searchWindow - 1, 3 * searchWindow} {
		for _, before := range []int{0, 5000} {
			text := strings.Repeat("-", before) + record + strings.Repeat("-", behind)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if held, err := s.Holds([]byte(record)); err != nil || !held {
				t.Errorf("%d bytes before, %d behind: %v, %v", before, behind, held, err)
			}
			if held, err := s.Holds([]byte(strings.Replace(record, "a", "b", 1))); err != nil || held {
				t.Errorf("%d bytes before, %d behind: what is not there: %v, %v", before, behind, held, err)
			}
		}
	}
}

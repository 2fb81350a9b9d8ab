package backendtest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend"
)

// processTests are about what the workload is given and how it ends.
func processTests(t *testing.T, s *suite) {
	t.Run("Exit", s.testExit)
	t.Run("Signal", s.testSignal)
	t.Run("SpawnError", s.testSpawnError)
	t.Run("Lookup", s.testLookup)
	t.Run("Environment", s.testEnvironment)
	t.Run("Descriptors", s.testDescriptors)
	t.Run("Credentials", s.testCredentials)
	t.Run("Limits", s.testLimits)
	t.Run("Workspace", s.testWorkspace)
	t.Run("Output", s.testOutput)
	t.Run("Usage", s.testUsage)
	t.Run("Attack", s.testAttack)
	t.Run("StartTwice", s.testStartTwice)
}

func (s *suite) testExit(t *testing.T) {
	for _, code := range []int{0, 1, 7, 124, 255} {
		x := s.run(t, "exit", strconv.Itoa(code)).exit()
		if x.Code != code || x.Signal != 0 || x.Reason != "" {
			t.Errorf("exit %d: got %+v", code, x)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		x := s.run(t, "die", strconv.Itoa(int(sig))).exit()
		if x.Signal != sig || x.Reason != "" {
			t.Errorf("die of %v: got %+v", sig, x)
		}
	}
}

func (s *suite) testSignal(t *testing.T) {
	r := s.run(t, "on-term", "42")
	r.ready()
	if err := r.cell.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if x := r.exit(); x.Code != 42 {
		t.Errorf("a workload that exits with 42 on SIGTERM: got %+v", x)
	}
	if err := r.cell.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to a workload that has ended: %v", err)
	}

	r = s.run(t, "sleep")
	r.ready()
	if err := r.cell.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if x := r.exit(); x.Signal != syscall.SIGTERM {
		t.Errorf("a workload without a handler: got %+v", x)
	}
}

func (s *suite) testSpawnError(t *testing.T) {
	dir := shared(t)
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("\x00\x01"), 0o755); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, "no-interpreter")
	if err := os.WriteFile(orphan, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		argv0 string
		dir   string
		stage string
		errno syscall.Errno
	}{
		{"missing path", filepath.Join(dir, "missing"), "/", "exec", syscall.ENOENT},
		{"missing name", "no-such-program-anywhere", "/", "lookup", syscall.ENOENT},
		{"empty name", "", "/", "lookup", syscall.ENOENT},
		{"not executable", plain, "/", "exec", syscall.EACCES},
		{"a directory", dir, "/", "exec", syscall.EACCES},
		{"no format", garbage, "/", "exec", syscall.ENOEXEC},
		{"no interpreter", orphan, "/", "exec", syscall.ENOENT},
		{"no directory", s.probe, filepath.Join(dir, "missing"), "working directory", syscall.ENOENT},
	} {
		p := s.plan()
		p.Process.Argv[0], p.Process.Dir = test.argv0, test.dir
		r := s.boot(t, p)
		_, err := r.cell.Start(t.Context(), nil, 0)
		var spawn *backend.SpawnError
		if !errors.As(err, &spawn) || spawn.Stage != test.stage || spawn.Errno != test.errno {
			t.Errorf("%s: got %v, want %s: %v", test.name, err, test.stage, test.errno)
		}
		r.cell.Kill()
		if x := r.exit(); x.Signal != syscall.SIGKILL || x.Reason != "" {
			t.Errorf("%s: a cell that was killed: got %+v", test.name, x)
		}
	}

	r := s.boot(t, s.plan("exit", "0"))
	_, err := r.cell.Start(t.Context(), []string{"V=" + strings.Repeat("x", 8<<20)}, 0)
	if !errors.Is(err, syscall.E2BIG) {
		t.Errorf("an environment of 8 MiB: got %v", err)
	}
	r = s.boot(t, s.plan("exit", "0"))
	if _, err := r.cell.Start(t.Context(), []string{"V=a\x00b"}, 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a variable with a NUL: got %v", err)
	}
}

func (s *suite) testLookup(t *testing.T) {
	p := s.plan()
	p.Process.Argv = []string{"sh", "-c", "echo $0", "found"}
	r := s.boot(t, p)
	r.start()
	if x := r.exit(); x.Code != 0 || r.stdout.String() != "found\n" {
		t.Errorf("sh by name: %+v %q %s", x, r.stdout, r.stderr)
	}
}

// testEnvironment also sends more than fits in a packet of the protocol.
func (s *suite) testEnvironment(t *testing.T) {
	t.Setenv("CELLOS_SECRET_OF_THE_SUPERVISOR", "leaked")
	want := []string{"A=1", "EMPTY=", "LINES=a\nb", "LONG=" + strings.Repeat("x", 100<<10), "SECRET=s3cret"}
	r := s.boot(t, s.plan("env"))
	r.start(want...)
	if x := r.exit(); x.Code != 0 {
		t.Fatalf("exit %+v: %s", x, r.stderr)
	}
	var quoted []string
	for _, v := range want {
		quoted = append(quoted, strconv.Quote(v))
	}
	if got := strings.TrimSpace(r.stdout.String()); got != strings.Join(quoted, "\n") {
		t.Errorf("the environment differs:\n%.300s", got)
	}
	if got := s.output(t, "env"); got != "" {
		t.Errorf("an empty environment has %q", got)
	}
}

func (s *suite) testDescriptors(t *testing.T) {
	// One that is inherited by whoever runs the supervisor.
	leak, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, leak.Fd(), syscall.F_SETFD, 0); errno != 0 {
		t.Fatal(errno)
	}
	lines := strings.Split(strings.TrimSpace(s.output(t, "fds")), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []string{"0 /dev/null", "1 pipe:", "2 pipe:"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("got %q, want %q", lines[i], want)
		}
	}
}

// field returns a line of "name: value" or "name value".
func field(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(strings.TrimPrefix(rest, ":"))
		}
	}
	t.Fatalf("no %s in %s", name, text)
	return ""
}

func (s *suite) testCredentials(t *testing.T) {
	text := s.output(t, "status")
	none := "0000000000000000"
	want := map[string]string{
		"NoNewPrivs": "1", "SigBlk": none, "SigIgn": none, "CapAmb": none, "CapInh": none,
		"parent": "1", "leader": "true",
	}
	if s.harness.Unprivileged {
		want["CapPrm"], want["CapEff"], want["CapBnd"] = none, none, none
	}
	for name, value := range want {
		if got := field(t, text, name); got != value {
			t.Errorf("%s is %s, want %s", name, got, value)
		}
	}
}

func (s *suite) testLimits(t *testing.T) {
	text := s.output(t, "limits")
	for name, want := range map[string]string{
		"Max core file size": "1 1",
		"Max open files":     "256 256",
	} {
		got := strings.Fields(field(t, text, name))
		if strings.Join(got[:2], " ") != want {
			t.Errorf("%s: got %q, want %s", name, got, want)
		}
	}
}

func (s *suite) testWorkspace(t *testing.T) {
	if !s.harness.Namespaces.Mnt {
		t.Skip("the harness asks for no mount namespace")
	}
	dir := shared(t)
	if err := os.WriteFile(filepath.Join(dir, "of the host"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := s.plan("where")
	p.Process.Dir, p.Process.Workspace = dir, true
	r := s.boot(t, p)
	r.start()
	if x := r.exit(); x.Code != 0 {
		t.Fatalf("exit %+v: %s", x, r.stderr)
	}
	lines := strings.Split(r.stdout.String(), "\n")
	if lines[0] != dir+" 0" {
		t.Errorf("the working directory is %q, want %s and empty", lines[0], dir)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the host's directory has %v, %v", entries, err)
	}
}

// testOutput reads more than a pipe holds, to the end, also when what holds
// the pipe is a process that the workload left behind.
func (s *suite) testOutput(t *testing.T) {
	const size = 1 << 20
	if got := s.output(t, "output", strconv.Itoa(size)); len(got) != size {
		t.Errorf("got %d bytes of %d", len(got), size)
	}
	s.output(t, "orphans", "1")
}

func (s *suite) testUsage(t *testing.T) {
	x := s.run(t, "burn", "200").exit()
	if x.CPUMicros < 200_000 || x.MaxRSS < 1<<20 {
		t.Errorf("a program that used 200 ms: got %+v", x)
	}
}

func (s *suite) testAttack(t *testing.T) {
	how := "signals"
	if s.harness.ProtectsInit {
		how = "everything"
	}
	r := s.run(t, "attack", how)
	x := r.exit()
	if x.Code != 0 || x.Reason != "" {
		t.Errorf("exit %+v: PID 1 must survive every signal from inside; %s", x, r.stderr)
	}
	if got := r.stdout.String(); got != "ready\n" {
		t.Errorf("the workload could reach PID 1: %s", got)
	}
}

func (s *suite) testStartTwice(t *testing.T) {
	r := s.run(t, "sleep")
	r.ready()
	if _, err := r.cell.Start(t.Context(), nil, 0); err == nil {
		t.Error("a second workload was started")
	}
	r.cell.Kill()
	r.exit()
}

// shared returns a directory that every user can read.
func shared(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Package e2e runs the real binaries as a user would and looks at what they
// print, what they wrote, and what they left behind.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/internal/testenv"
)

// bin holds the binaries under test. An ordinary user must be able to run them.
var bin string

func TestMain(m *testing.M) {
	if deed := os.Getenv(workloadVar); deed != "" {
		os.Exit(runWorkload(deed))
	}
	dir, err := buildBinaries()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := testenv.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildBinaries puts the binaries where an ordinary user can run them, and
// this test itself as well: it is the workload.
func buildBinaries() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "cellos-e2e-"); err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-trimpath", "-o", bin+"/", "cellos.io/cellos/cmd/cellos", "cellos.io/cellos/cmd/cellos-supervisor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build: %w\n%s", err, out)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return dir, err
	}
	if err := os.WriteFile(filepath.Join(bin, "workload"), self, 0o755); err != nil {
		return dir, err
	}
	return dir, os.Chmod(dir, 0o755)
}

func need(t *testing.T, what ...string) {
	t.Helper()
	testenv.Need(t, what...)
}

// deadline is how long one run may take before the test gives up on it.
const deadline = 60 * time.Second

// user is who runs the binaries.
type user struct {
	name string
	root bool
	uid  int // -1: whoever runs the tests
}

var invoker = user{name: "invoker", root: os.Geteuid() == 0, uid: -1}

// ordinary is a user id with no privilege and, on most systems, no name.
const ordinary = 65533

// users are those for whom a promise must hold: the one who runs the tests
// and, where that is root, an ordinary user.
func users(t *testing.T) []user {
	t.Helper()
	if !invoker.root {
		return []user{invoker}
	}
	return []user{{name: "root", root: true, uid: -1}, {name: "ordinary", uid: ordinary}}
}

// dir is a directory of this user's own.
func (u user) dir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if u.uid >= 0 {
		// The parents of t.TempDir are private to the one who runs the tests.
		own, err := os.MkdirTemp(filepath.Dir(bin), "user-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(own) })
		if err := os.Chown(own, u.uid, u.uid); err != nil {
			t.Fatal(err)
		}
		return own
	}
	return dir
}

// result is what a finished program left.
type result struct {
	code           int
	stdout, stderr string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", r.code, r.stdout, r.stderr)
}

// supervisor runs cellos-supervisor with exactly this environment.
func (u user) supervisor(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return u.run(t, u.command(env, "cellos-supervisor", args...))
}

// cellos runs the command line with exactly this environment.
func (u user) cellos(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return u.run(t, u.command(env, "cellos", args...))
}

func (u user) command(env []string, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, program), args...)
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, env...)
	cmd.Dir = "/"
	if u.uid >= 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
	}
	return cmd
}

func (u user) run(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	r := result{code: exitCode(err), stdout: stdout.String(), stderr: stderr.String()}
	if !timer.Stop() {
		t.Fatalf("%s did not end within %v\n%s", cmd, deadline, r)
	}
	return r
}

// exitCode is the code that a shell would report.
func exitCode(err error) int {
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		return -1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

func ownerOf(info os.FileInfo) int {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(stat.Uid)
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// trailEvent is an event as a reader without our types sees it.
type trailEvent map[string]any

func (e trailEvent) data() map[string]any {
	data, _ := e["data"].(map[string]any)
	return data
}

func readTrail(t *testing.T, path string) []trailEvent {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var events []trailEvent
	for n, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		var e trailEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s:%d: %v", path, n+1, err)
		}
		events = append(events, e)
	}
	return events
}

// byType selects the events whose type is the cell prefix and the suffix.
func byType(events []trailEvent, suffix string) (out []trailEvent) {
	for _, e := range events {
		if e["type"] == "dev.cellos.events.cell."+suffix {
			out = append(out, e)
		}
	}
	return out
}

func findQuery(t *testing.T, events []trailEvent, name string) trailEvent {
	t.Helper()
	for _, e := range events {
		if e.data()["queryName"] == name {
			return e
		}
	}
	t.Fatalf("no dns_query event for %s", name)
	return nil
}

// wantData compares fields of an event's data with the values that follow
// their names.
func wantData(t *testing.T, e trailEvent, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		if got := e.data()[name]; got != pairs[i+1] {
			t.Errorf("%s: data.%s is %v, want %v", e["type"], name, got, pairs[i+1])
		}
	}
}

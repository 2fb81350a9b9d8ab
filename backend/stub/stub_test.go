package stub_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend/backendtest"
	"cellos.io/cellos/backend/stub"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

func TestMain(m *testing.M) {
	os.Exit(backendtest.Main(m, harness))
}

func boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (backendtest.Cell, error) {
	c, err := stub.New(stub.Options{}).Boot(ctx, p, stdio, lock)
	if err != nil {
		return nil, err // and no *Cell in an interface that is not nil
	}
	return c, nil
}

// harness has every namespace that the caller can have without a user
// namespace of its own, or all.
func harness() backendtest.Harness {
	user := os.Geteuid() != 0 || os.Getenv(userVar) != ""
	kills := 50
	if user {
		kills = 10
	}
	return backendtest.Harness{
		Boot:         boot,
		Kills:        kills,
		Namespaces:   plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true, UTS: true, User: user},
		Unprivileged: user,
		ProtectsInit: user,
	}
}

// userVar asks for a user namespace although the caller is root.
const userVar = "CELLOS_STUB_TEST_USERNS"

func TestConformance(t *testing.T) {
	testenv.Need(t, "netns", "mount")
	backendtest.Run(t, harness)
}

// TestConformanceUserNamespace is root with a user namespace that was asked
// for.
func TestConformanceUserNamespace(t *testing.T) {
	testenv.Need(t, "root", "userns", "mount")
	t.Setenv(userVar, "1")
	backendtest.Run(t, harness)
}

// ordinary is the user "nobody" of every system.
const ordinary = 65534

// TestConformanceOrdinaryUser runs the suite as a user without privileges, in
// a test binary which that user can execute.
func TestConformanceOrdinaryUser(t *testing.T) {
	testenv.Need(t, "root", "userns")
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, ordinary, ordinary); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "stub.test")
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestConformance$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "TMPDIR=" + tmp,
		backendtest.ProbeVar + "=" + backendtest.Probe(t),
		testenv.RequireVar + "=netns,mount",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestConformance/Death/SupervisorKilled") {
		t.Errorf("the suite did not run:\n%s", out)
	}
}

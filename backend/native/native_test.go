package native_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend/backendtest"
	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

func TestMain(m *testing.M) {
	os.Exit(backendtest.Main(m, harness))
}

func harness() backendtest.Harness {
	return backendtest.Harness{
		Boot: boot, Namespaces: native.Namespaces, Unprivileged: true, ProtectsInit: true, Isolated: true, Kills: 15,
	}
}

// boot completes a plan of the suite, which sees the directories of the tests
// where they are.
func boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (backendtest.Cell, error) {
	mounts := fmt.Sprintf("{source: %q, target: %q, readOnly: false}", os.TempDir(), os.TempDir())
	if p.Process != nil {
		if dir := filepath.Dir(p.Process.Argv[0]); filepath.IsAbs(dir) && !strings.HasPrefix(dir, os.TempDir()) {
			mounts += fmt.Sprintf(", {source: %q, target: %q}", dir, dir)
		}
	}
	compiled, err := compile(fmt.Sprintf(document, "", mounts))
	if err != nil {
		return nil, err
	}
	p.Files, p.Identity, p.Limits = compiled.Files, compiled.Identity, compiled.Limits
	if p.Process != nil && p.Process.Workspace {
		p.Files.Entries = append(p.Files.Entries, plan.FileEntry{
			Target: p.Process.Dir, Kind: plan.KindScratch, Mode: 0o755, User: true,
		})
	}
	c, err := native.New(native.Options{}).Boot(ctx, p, stdio, lock)
	if err != nil {
		return nil, err // and no *Cell in an interface that is not nil
	}
	return c, nil
}

const document = `
apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: test
  lifetime: {ttlSeconds: 600}
  run: {argv: ["true"]%s}
  authority: {filesystem: {mounts: [%s]}}
`

func compile(text string) (*plan.Plan, error) {
	doc, err := cell.Parse("test.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	p, refusals := plan.Compile(doc, plan.Host{
		Profile: plan.Portable, Backend: "native", Isolation: plan.Report{}, Namespaces: native.Namespaces,
		Files: native.HostFiles(doc), IDBlocks: os.Geteuid() == 0,
	})
	for _, r := range refusals {
		if !strings.HasPrefix(r.Path, "spec.authority.filesystem") || r.Remedy != "remove spec.authority.filesystem" {
			return nil, fmt.Errorf("refused: %v", r)
		}
	}
	return p, nil
}

func TestConformance(t *testing.T) {
	testenv.Need(t, "userns", "netns", "mount")
	backendtest.Run(t, harness)
}

// ordinary is a user id with no privilege and, on most systems, no name.
const ordinary = 65533

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
	exe := filepath.Join(dir, "native.test")
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^(TestConformance|TestSecretFiles|TestMount.*|TestDisk|TestForkBomb|TestWorkingDirectory)$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "TMPDIR=" + tmp,
		backendtest.ProbeVar + "=" + backendtest.Probe(t),
		testenv.RequireVar + "=userns,netns,mount",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, test := range []string{"TestConformance/Death/SupervisorKilled", "TestSecretFiles", "TestMountProtect", "TestForkBomb"} {
		if !strings.Contains(string(out), "--- PASS: "+test) {
			t.Errorf("%s did not run:\n%s", test, out)
		}
	}
}

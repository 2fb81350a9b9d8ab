package probe_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/probe"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// patient gives the probes more time than they have on an idle machine.
func patient(o probe.Options) *probe.Prober {
	p := probe.New(append(probe.Abilities(o), probe.OtherBackends()...)...)
	p.Timeout = time.Minute
	return p
}

// TestThisHost tries everything, as whoever runs the tests. That nothing is
// left is checked by TestMain.
func TestThisHost(t *testing.T) {
	dir := t.TempDir()
	p := patient(probe.Options{StateDir: dir, RuntimeDir: filepath.Join(dir, "run"), Paths: []string{dir}})
	answers := map[string]probe.Result{}
	for _, r := range p.Run(t.Context()) {
		answers[r.Name] = r
		t.Logf("%-11s %-16s %s", r.Answer, r.Name, r.Detail)
		switch {
		case r.Answer == probe.Unsupported && r.Remedy == "" && !strings.HasPrefix(r.Detail, "needs ") && r.Name != "idmapped-mounts":
			t.Errorf("%s: no remedy for %q", r.Name, r.Detail)
		case r.Answer != probe.Works && r.Detail == "":
			t.Errorf("%s: nothing said", r.Name)
		case r.Answer == probe.Unknown && !strings.HasPrefix(r.Detail, "needs "):
			t.Errorf("%s could not be told: %s", r.Name, r.Detail)
		}
	}
	agree(t, answers)
	if _, err := os.Stat(filepath.Join(dir, "run")); err == nil {
		t.Error("a directory was made")
	}
}

// agree compares the answers with what other programs of the host can do.
func agree(t *testing.T, answers map[string]probe.Result) {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return
	}
	for name, flags := range map[string][]string{
		probe.UserNamespace:  {"--user", "--map-current-user"},
		probe.NetNamespace:   {"--user", "--map-root-user", "--net"},
		probe.MountNamespace: {"--user", "--map-root-user", "--mount"},
		probe.PIDNamespace:   {"--user", "--map-root-user", "--pid", "--fork"},
		"ipc-namespace":      {"--user", "--map-root-user", "--ipc"},
		"uts-namespace":      {"--user", "--map-root-user", "--uts"},
		"private-proc":       {"--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"},
	} {
		out, err := exec.Command(unshare, append(flags, "true")...).CombinedOutput()
		if works := answers[name].Answer == probe.Works; works != (err == nil) {
			t.Errorf("%s: the answer is %+v, unshare(1) says %v %s", name, answers[name], err, out)
		}
	}
}

// TestAsOrdinaryUser runs TestThisHost and TestNetwork as a user who is no
// one.
func TestAsOrdinaryUser(t *testing.T) {
	testenv.Need(t, "root")
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^Test(ThisHost|Network)$", "-test.v")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("--- PASS: TestThisHost")) {
		t.Error("the test did not run")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// TestAStoppedProbeIsGone: the child of a probe that hangs is killed, and all
// that it had with it. TestMain looks for it.
func TestAStoppedProbeIsGone(t *testing.T) {
	testenv.Need(t, "userns", "netns")
	ctx, cancel := context.WithCancel(t.Context())
	n, err := probe.OpenNetwork(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		t.Fatal(err)
	}
	cancel()
	testenv.Eventually(t, 10*time.Second, func() error {
		if children := testenv.Descendants(os.Getpid()); len(children) > 0 {
			return &os.PathError{Op: "wait", Path: children[0].Name, Err: os.ErrExist}
		}
		return nil
	})
	if s, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
		s.Close()
		t.Error("a process that was killed made a socket")
	}
}

// TestNetwork: a socket made inside is of another network than ours.
func TestNetwork(t *testing.T) {
	testenv.Need(t, "userns", "netns")
	n, err := probe.OpenNetwork(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	s, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// lo is down there: not even loopback can be reached.
	err = unix.Connect(int(s.Fd()), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9})
	if err != unix.ENETUNREACH {
		t.Errorf("connect: %v, want %v", err, unix.ENETUNREACH)
	}
	if _, err := n.Socket(12345, unix.SOCK_STREAM, 0); err == nil {
		t.Error("a socket of no family was made")
	}
}

// TestQuickIsQuick: what a run may ask for at its start makes no process.
func TestQuickMakesNoProcess(t *testing.T) {
	abilities := probe.Abilities(probe.Options{StateDir: t.TempDir(), RuntimeDir: t.TempDir()})
	names := probe.Quick(abilities)
	if len(names) == 0 {
		t.Fatal("nothing is quick")
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &before); err != nil {
		t.Fatal(err)
	}
	for _, r := range probe.New(abilities...).Run(t.Context(), names...) {
		if r.Answer == probe.Unknown {
			t.Errorf("%+v", r)
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("a process was waited for")
	}
}

// TestControlsExist: what rests on an ability is a control of the report.
func TestControlsExist(t *testing.T) {
	known := map[string]bool{}
	for _, control := range plan.Controls {
		known[control] = true
	}
	for _, a := range append(probe.Abilities(probe.Options{StateDir: "/x", RuntimeDir: "/x"}), probe.OtherBackends()...) {
		if a.Name == "" || a.Means == "" || a.Try == nil {
			t.Errorf("%+v lacks something", a)
		}
		for _, control := range a.Controls {
			if !known[control] {
				t.Errorf("%s: %q is no control", a.Name, control)
			}
		}
	}
}

func BenchmarkQuick(b *testing.B) {
	abilities := probe.Abilities(probe.Options{StateDir: b.TempDir(), RuntimeDir: b.TempDir()})
	names := probe.Quick(abilities)
	for b.Loop() {
		probe.New(abilities...).Run(b.Context(), names...)
	}
}

func BenchmarkEverything(b *testing.B) {
	abilities := probe.Abilities(probe.Options{})
	for b.Loop() {
		probe.New(abilities...).Run(b.Context())
	}
}

package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/probe"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// left returns the leftovers that mention a word.
func left(before Snapshot, word string) []string {
	var found []string
	for _, line := range before.added(take(before.tmp)) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}

func TestSnapshotSeesProcesses(t *testing.T) {
	before := Take()
	cmd := exec.Command("/bin/sh", "-c", "exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if len(left(before, "process ")) == 0 {
		t.Error("a running child is not seen")
	}
	if len(left(before, "descriptor ")) == 0 {
		t.Error("an open pipe is not seen")
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if l := left(before, "process "); len(l) != 0 {
		t.Errorf("still there: %q", l)
	}
}

func TestSnapshotSeesOrphansAndTheirNamespaces(t *testing.T) {
	Need(t, "netns", "sleep")
	before := Take()
	// The shell ends and leaves sleep, in a session and a network namespace
	// of its own, to whoever adopts it.
	cmd := exec.Command("/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var orphan int
	Eventually(t, 10*time.Second, func() error {
		for _, p := range Descendants(os.Getpid()) {
			if p.Name == "sleep" && p.Parent == os.Getpid() {
				orphan = p.PID
				return nil
			}
		}
		return os.ErrNotExist
	})
	if len(left(before, "namespace net:")) == 0 {
		t.Error("the network namespace of an orphan is not seen")
	}
	if err := syscall.Kill(orphan, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if l := Leftovers(before, 10*time.Second); len(l) != 0 {
		t.Errorf("still there: %q", l)
	}
	if Alive(orphan) {
		t.Error("a process that was reaped is alive")
	}
}

func TestSnapshotSeesMountsAndFiles(t *testing.T) {
	Need(t, "root", "mount")
	before := Take()
	dir := filepath.Join(os.TempDir(), "mount point")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if len(left(before, "mount ")) == 0 {
		t.Error("a mount is not seen")
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if len(left(before, "file ")) == 0 {
		t.Error("a directory is not seen")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if l := before.added(take(before.tmp)); len(l) != 0 {
		t.Errorf("still there: %q", l)
	}
}

func TestRequired(t *testing.T) {
	for _, test := range []struct {
		name, list string
		want       bool
	}{
		{"netns", "", false},
		{"netns", "all", true},
		{"netns", "strace, netns", true},
		{"netns", "netnsx", false},
	} {
		if got := required(test.name, test.list); got != test.want {
			t.Errorf("required(%q, %q) = %v", test.name, test.list, got)
		}
	}
}

func TestHasAsksTheProbes(t *testing.T) {
	for name, ability := range abilities {
		if (Has(name) == nil) != (Has(ability) == nil) {
			t.Errorf("%s: %v, %s: %v", name, Has(name), ability, Has(ability))
		}
	}
	if err := missing(probe.Result{Answer: probe.Unknown, Detail: "no answer within 1s"}); err == nil {
		t.Error("an unknown answer counts as yes")
	}
	if err := missing(probe.Result{Answer: probe.Unsupported, Detail: "no", Remedy: "do it"}); err == nil || !strings.Contains(err.Error(), "do it") {
		t.Errorf("%v", err)
	}
}

func TestHasTriesPrograms(t *testing.T) {
	if err := Has("sh"); err != nil {
		t.Error(err)
	}
	if Has("no-such-program-anywhere") == nil || Has("../sh") == nil {
		t.Error("a program that is not there was found")
	}
}

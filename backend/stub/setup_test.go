package stub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

// names of the steps, in order.
func names(b blueprint) string {
	var list []string
	for _, s := range b.steps {
		list = append(list, s.Name)
	}
	return strings.Join(list, "; ")
}

func TestCompile(t *testing.T) {
	process := &plan.Process{Argv: []string{"true"}, Dir: "/work", OpenFiles: 1024}
	fresh := &plan.Process{Argv: []string{"true"}, Dir: "/work", Workspace: true}
	for _, test := range []struct {
		name    string
		ns      plan.Namespaces
		process *plan.Process
		uid     int
		flags   uintptr
		steps   string
	}{
		{
			name: "root, nothing asked for: a pid namespace all the same", process: process,
			flags: syscall.CLONE_NEWPID,
		},
		{
			name: "root, everything but user", process: fresh,
			ns: plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true, UTS: true},
			flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS |
				syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
			steps: "make mounts private; mount /proc; mount a working directory at /work; " +
				"bring lo up; open the ports below 1024; set the host name",
		},
		{
			name: "an ordinary user has a user namespace", process: process, uid: 1000,
			ns:    plan.Namespaces{Net: true},
			flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
			steps: "map the caller's ids; bring lo up; open the ports below 1024",
		},
		{
			name: "root asks for one", process: process,
			ns:    plan.Namespaces{User: true},
			flags: syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
			steps: "map the caller's ids",
		},
		{
			name:  "no program",
			flags: syscall.CLONE_NEWPID,
		},
	} {
		b, err := compile(&plan.Plan{Unshare: test.ns, Process: test.process}, test.uid, test.uid)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if b.cloneFlags != test.flags {
			t.Errorf("%s: clone flags %#x, want %#x", test.name, b.cloneFlags, test.flags)
		}
		if got := names(b); got != test.steps {
			t.Errorf("%s: steps\n\t%s, want\n\t%s", test.name, got, test.steps)
		}
		user := test.flags&syscall.CLONE_NEWUSER != 0
		if (len(b.ambient) > 0) != user || (test.process != nil && b.program.DropCapabilities != user) {
			t.Errorf("%s: ambient %v, dropped %v", test.name, b.ambient, b.program.DropCapabilities)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for want, process := range map[string]*plan.Process{
		"add mnt to CELLOS_SUBPROCESS_UNSHARE": {Dir: "/work", Workspace: true},
		"below the 16 that PID 1 needs":        {OpenFiles: 15},
	} {
		_, err := compile(&plan.Plan{Process: process}, 0, 0)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestIsolationNamesEveryControl(t *testing.T) {
	for _, ns := range []plan.Namespaces{{}, {Net: true, Mnt: true, User: true}} {
		report := New(Options{}).Isolation(ns)
		for _, control := range plan.Controls {
			c, ok := report[control]
			if !ok || c.By == "" || c.State == "" || c.State == plan.Unknown {
				t.Errorf("%+v: %s is %+v", ns, control, c)
			}
		}
		if len(report) != len(plan.Controls) {
			t.Errorf("%+v: %d controls, want %d", ns, len(report), len(plan.Controls))
		}
	}
}

// bootIn boots with a lock and no output.
func bootIn(t *testing.T, ctx context.Context, exe string, p *plan.Plan) (*nsproc.Cell, error) {
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	return New(Options{Exe: exe}).Boot(ctx, p, [3]*os.File{null, null, null}, null)
}

func TestBootErrors(t *testing.T) {
	testenv.Need(t, "mount")
	missing := filepath.Join(t.TempDir(), "missing")
	ns := plan.Namespaces{Mnt: true}

	_, err := bootIn(t, t.Context(), "", &plan.Plan{Unshare: ns,
		Process: &plan.Process{Argv: []string{"true"}, Dir: missing, Workspace: true}})
	var setup *backend.SetupError
	if !errors.As(err, &setup) || setup.Errno != syscall.ENOENT || !strings.Contains(setup.Step, missing) {
		t.Errorf("a working directory that is not there: got %v", err)
	}

	if _, err := bootIn(t, t.Context(), missing, &plan.Plan{}); !errors.Is(err, syscall.ENOENT) ||
		!strings.Contains(err.Error(), missing) {
		t.Errorf("a PID 1 that is not there: got %v", err)
	}

	// A program that is no PID 1 ends or says nothing; it must not hang.
	if _, err := bootIn(t, t.Context(), "/bin/true", &plan.Plan{}); !errors.Is(err, backend.ErrGone) {
		t.Errorf("a program that does not link cellinit: got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bootIn(t, ctx, "", &plan.Plan{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got %v", err)
	}
}

func TestStartWithoutProgram(t *testing.T) {
	testenv.Need(t, "pidns")
	c, err := bootIn(t, t.Context(), "", &plan.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Start(t.Context(), nil, 0); err == nil {
		t.Error("a plan without a program was started")
	}
}

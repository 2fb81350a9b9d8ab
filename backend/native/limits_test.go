package native_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/internal/testenv"
)

// TestMemoryLimit: a workload that takes more than its cell has is ended, and
// what was written down beforehand is all that there is to remove.
func TestMemoryLimit(t *testing.T) {
	testenv.Need(t, "root", "userns", "mount")
	groups := cgroup.Find("")
	if err := groups.Available(cgroup.Memory); err != nil {
		t.Skip(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := compile(fmt.Sprintf(document, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	p.RunID = fmt.Sprintf("test-%d", os.Getpid())
	p.Limits.Memory = 48 << 20
	// What is written to a tmpfs counts as memory.
	p.Process.Argv = []string{"/bin/sh", "-c", "exec dd if=/dev/zero of=/tmp/file bs=1M count=200"}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	b := native.New(native.Options{Cgroups: groups})
	resources, err := b.Resources(p)
	if err != nil || len(resources) == 0 {
		t.Fatalf("resources %v, %v", resources, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		for _, r := range resources {
			if err := cgroup.Remove(ctx, r.Key); r.Kind != backend.Cgroup || err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
	}()
	c, err := b.Boot(t.Context(), p, [3]*os.File{null, null, null}, null)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Start(t.Context(), nil, 0); err != nil {
		t.Fatal(err)
	}
	if x, err := c.Wait(); err != nil || x.Signal != syscall.SIGKILL {
		t.Errorf("%+v, %v", x, err)
	}
}

package stub

import (
	"os"
	"runtime"
	"testing"

	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

// BenchmarkCell is a cell with a network of its own, from the clone of PID 1
// until it is gone.
func BenchmarkCell(b *testing.B) {
	testenv.Need(b, "netns", "mount")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	p := &plan.Plan{
		Unshare: plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true},
		Process: &plan.Process{Argv: []string{"true"}, Dir: "/"},
	}
	stub := New(Options{})
	for b.Loop() {
		c, err := stub.Boot(b.Context(), p, [3]*os.File{null, null, null}, null)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Start(b.Context(), nil, 0); err != nil {
			b.Fatal(err)
		}
		if x, err := c.Wait(); err != nil || x.Code != 0 {
			b.Fatalf("%+v, %v", x, err)
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

package native_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/internal/testenv"
)

// BenchmarkCell is a cell with everything on, from the plan until it is gone.
func BenchmarkCell(b *testing.B) {
	testenv.Need(b, "userns", "netns", "mount")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	mount := fmt.Sprintf("{source: %q, target: /src}", b.TempDir())
	for name, mounts := range map[string]string{"system": "", "mount": mount} {
		b.Run(name, func(b *testing.B) {
			backend := native.New(native.Options{})
			for b.Loop() {
				p, err := compile(fmt.Sprintf(document, "", mounts))
				if err != nil {
					b.Fatal(err)
				}
				c, err := backend.Boot(b.Context(), p, [3]*os.File{null, null, null}, null)
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
		})
	}
}

package native_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/internal/testenv"
)

const secretsDocument = `
apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: test
  lifetime: {ttlSeconds: 600}
  authority: {secretRefs: [api-token, empty]}
  run:
    secretDelivery: file
    argv: [sh, -c, "id -u; stat -c '%u %a %s %n' /run/secrets/*; stat -f -c %T /run/secrets; cat /run/secrets/api-token; env"]
`

// Secrets that are delivered as files belong to the workload's user, who alone
// may read them, and are nowhere but in memory.
func TestSecretFiles(t *testing.T) {
	testenv.Need(t, "userns", "netns", "mount")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := compile(secretsDocument)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	lock, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := native.New(native.Options{}).Boot(t.Context(), p, [3]*os.File{null, w, w}, lock)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Kill(); <-c.Done(); c.Close() }()

	for _, name := range []string{"../tmp/x", "..", "a/b"} {
		if err := c.Deliver(t.Context(), []backend.File{{Name: name}}); err == nil {
			t.Errorf("a secret was written to %q", name)
		}
	}
	files := []backend.File{{Name: "api-token", Content: []byte("s3cr3t\n")}, {Name: "empty"}}
	if err := c.Deliver(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	if err := c.Deliver(t.Context(), files[:1]); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a secret was written over: %v", err)
	}
	if _, err := c.Start(t.Context(), []string{"PATH=/usr/bin:/bin"}, 0); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	want := []string{"1000", "1000 400 7 /run/secrets/api-token", "1000 400 0 /run/secrets/empty", "tmpfs", "s3cr3t", "PATH=/usr/bin:/bin"}
	for i, line := range want {
		if i >= len(lines) || lines[i] != line {
			t.Fatalf("got\n%s\nwant\n%s", out, strings.Join(want, "\n"))
		}
	}
	if strings.Count(string(out), "s3cr3t") != 1 {
		t.Errorf("the secret is in the environment:\n%s", out)
	}
	if err := c.Deliver(t.Context(), files[:1]); err == nil {
		t.Error("a secret was written behind the workload's back")
	}
}

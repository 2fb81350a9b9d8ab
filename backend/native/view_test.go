package native_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/backend/backendtest"
	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

// shell runs a script in a cell and returns what it printed. The script ends
// with status 0.
func shell(t *testing.T, script, run, mounts string) string {
	t.Helper()
	p, err := compile(fmt.Sprintf(document, run, mounts))
	if err != nil {
		t.Fatal(err)
	}
	p.Process.Argv = []string{"/bin/sh", "-c", script}
	return runPlan(t, p)
}

// runPlan runs a cell whose program ends with status 0.
func runPlan(t *testing.T, p *plan.Plan) string {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := native.New(native.Options{}).Boot(t.Context(), p, [3]*os.File{null, w, w}, null)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Start(t.Context(), []string{"PATH=/usr/bin:/bin", "HOME=/home/cell"}, 0); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, _ = io.Copy(&out, r)
	if x, err := c.Wait(); err != nil || x.Code != 0 || x.Signal != 0 {
		t.Fatalf("%+v, %v\n%s", x, err, &out)
	}
	return out.String()
}

// repository is a directory of the host that looks like one of git's.
func repository(t *testing.T) string {
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"file": "text", ".git/config": "[core]\n", ".git/hooks/pre-commit": "#!/bin/sh\n", "sub/other": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// give makes a directory and everything in it another user's.
func give(t *testing.T, dir string, uid int) {
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMountOwners: whoever owns a mount is the cell's user, and what the cell
// makes there belongs to him. Everything else is nobody's.
func TestMountOwners(t *testing.T) {
	testenv.Need(t, "root", "userns", "mount")
	dir := repository(t)
	give(t, dir, 4321)
	if err := os.Lchown(filepath.Join(dir, "sub"), 99, 99); err != nil {
		t.Fatal(err)
	}
	got := shell(t, "id -u; stat -c '%u %g' /src/file /src/sub /etc/passwd /usr; echo new > /src/made; mkdir /src/sub/x 2>/dev/null || echo refused",
		`, user: "1500:1600"`, fmt.Sprintf("{source: %q, target: /src, readOnly: false}", dir))
	if want := "1500\n1500 1600\n65534 65534\n0 0\n65534 65534\nrefused\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(filepath.Join(dir, "made"), &stat); err != nil || stat.Uid != 4321 || stat.Gid != 4321 {
		t.Errorf("what the cell made belongs to %d:%d, %v", stat.Uid, stat.Gid, err)
	}
}

func TestMountReadOnly(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	dir := repository(t)
	got := shell(t, "cat /src/file /one; for f in /src/new /src/file /one; do (echo x > $f) 2>/dev/null && echo wrote $f; done; true",
		"", fmt.Sprintf("{source: %q, target: /src}, {source: %q, target: /one}", dir, filepath.Join(dir, "file")))
	if got != "texttext" {
		t.Errorf("got %q", got)
	}
}

// TestMountProtect tries to change what git would execute on the host, also by
// replacing the directories that lead there.
func TestMountProtect(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	dir := repository(t)
	got := shell(t, `
		try() { "$@" 2>/dev/null && echo "could: $*"; }
		try sh -c 'echo x > /src/.git/config'
		try sh -c 'echo x > /src/.git/hooks/post-checkout'
		try sh -c 'echo x >> /src/.git/hooks/pre-commit'
		try rm /src/.git/config
		try rm -r /src/.git/hooks
		try mv /src/.git /src/elsewhere
		try mv /src/.git/hooks /src/elsewhere
		try mv /src/.git/config /src/elsewhere
		try ln -sf /tmp/x /src/.git/config
		try mv /src /elsewhere
		echo ok > /src/.git/index && cat /src/.git/index`,
		"", fmt.Sprintf("{source: %q, target: /src, readOnly: false}", dir))
	if got != "ok\n" {
		t.Errorf("got %s", got)
	}
	for name, want := range map[string]string{".git/config": "[core]\n", ".git/hooks/pre-commit": "#!/bin/sh\n"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, ".git/hooks")); err != nil || len(entries) != 1 {
		t.Errorf("hooks: %v, %v", entries, err)
	}
}

// TestMountFollowsNoLinkBelow: what is protected is not what a link in the
// mount leads to.
func TestMountFollowsNoLinkBelow(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	dir := repository(t)
	if err := os.RemoveAll(filepath.Join(dir, ".git/hooks")); err != nil {
		t.Fatal(err)
	}
	secret := t.TempDir()
	if err := os.WriteFile(filepath.Join(secret, "canary"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, ".git/hooks")); err != nil {
		t.Fatal(err)
	}
	got := shell(t, "ls /src/.git/hooks/ 2>&1 | grep -c canary || true", "", fmt.Sprintf("{source: %q, target: /src, readOnly: false}", dir))
	if strings.TrimSpace(got) != "0" {
		t.Errorf("what a link leads to is in the cell: %s", got)
	}
}

// TestMountBelow: a mount below a source is there as well.
func TestMountBelow(t *testing.T) {
	testenv.Need(t, "root", "userns", "mount")
	dir := repository(t)
	sub := filepath.Join(dir, "sub")
	if err := syscall.Mount("none", sub, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(sub, 0); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(filepath.Join(sub, "mounted"), []byte("below"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := shell(t, "cat /src/sub/mounted; (echo x > /src/sub/y) 2>/dev/null && echo wrote; true", "", fmt.Sprintf("{source: %q, target: /src}", dir))
	if got != "below" {
		t.Errorf("got %q", got)
	}
}

// TestDisk: everything that a cell may write by itself counts together.
func TestDisk(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	got := shell(t, `
		fill() { dd if=/dev/zero of=$1 bs=1k count=$2 2>/dev/null; }
		fill /tmp/a 2000 && fill $HOME/b 1000 && fill /dev/shm/c 500 && echo fits
		fill /work/d 3000 || echo full`,
		", workingDirectory: /work, limits: {diskMaxBytes: 4194304}", "")
	if got != "fits\nfull\n" {
		t.Errorf("got %q", got)
	}
}

// TestForkBomb: the number of processes of a cell has an end, and it is the
// cell's alone.
func TestForkBomb(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	const most, slack = 50, 20 // PID 1 of a rootless cell is the same user
	got := shell(t, `
		( while :; do sleep 600 >/dev/null 2>&1 & done ) 2>/dev/null
		set -- /proc/[0-9]*; echo $#`,
		fmt.Sprintf(", limits: {pidsMax: %d}", most), "")
	var n int
	if _, err := fmt.Sscan(got, &n); err != nil || n < most/2 || n > most+slack {
		t.Errorf("%s processes", got)
	}
}

// TestWorkingDirectory is fresh, the user's, and where the workload starts.
func TestWorkingDirectory(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	for _, dir := range []string{"/work", "/a/b/c", "/tmp/x/y", "/home/cell/src"} {
		got := shell(t, "pwd; ls -A | wc -l; echo x > file && stat -c %u .", ", workingDirectory: "+dir, "")
		if want := dir + "\n0\n1000\n"; got != want {
			t.Errorf("%s: got %q", dir, got)
		}
	}
	if got := shell(t, "pwd", "", ""); got != "/home/cell\n" {
		t.Errorf("without one: %q", got)
	}
}

// TestRootfs is a cell whose programs are its own, in a file system that has
// places for nothing else.
func TestRootfs(t *testing.T) {
	testenv.Need(t, "userns", "mount")
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	probe, err := os.ReadFile(backendtest.Probe(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "etc"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"bin/probe": string(probe), "etc/passwd": "builder:x:300:301::/:\n", "etc/hosts": "192.0.2.1 of-the-image\n", "etc/own": "kept",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	doc := fmt.Sprintf(`
apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: test
  lifetime: {ttlSeconds: 600}
  environment: {rootfs: %q}
  run: {argv: [/bin/probe, cat, "/etc/own /etc/hosts /etc/passwd /usr/bin/env /proc/self/status"], user: builder}
`, dir)
	p, err := compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got := runPlan(t, p)
	for _, want := range []string{"kept", "127.0.0.1 localhost", "builder:x:300", "no /usr/bin/env", "Uid:\t300\t300\t300\t300", "Gid:\t301\t301"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "of-the-image") {
		t.Errorf("the image's own hosts:\n%s", got)
	}
}

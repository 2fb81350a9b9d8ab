package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkRunTrue is a whole run of /bin/true: start of the program, document,
// trail, cell, workload, destruction, receipt, seal.
func BenchmarkRunTrue(b *testing.B) {
	for _, bench := range []struct{ name, unshare string }{
		{"pid", ""},
		{"net", "net"},
		{"all", "net,mnt,ipc,uts"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dir := b.TempDir()
			spec := filepath.Join(dir, "cell.json")
			if err := os.WriteFile(spec, []byte(`{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{
				"id":"true","lifetime":{"ttlSeconds":30},"run":{"argv":["/bin/true"]}}}`), 0o644); err != nil {
				b.Fatal(err)
			}
			env := siteEnv(dir)
			if bench.unshare != "" {
				env = append(env, "CELLOS_SUBPROCESS_UNSHARE="+bench.unshare)
			}
			for b.Loop() {
				if out, err := invoker.command(env, "cellos-supervisor", "-q", spec).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}

// BenchmarkNativeTrue is the same on a native cell with everything on, beside
// bubblewrap with all its namespaces, where that is installed.
func BenchmarkNativeTrue(b *testing.B) {
	b.Run("cellos", func(b *testing.B) {
		dir := b.TempDir()
		env := []string{"CELLOS_STATE_DIR=" + filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR=" + filepath.Join(dir, "run")}
		for b.Loop() {
			if out, err := invoker.command(env, "cellos", "run", "-q", "--", "/usr/bin/true").CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
	b.Run("bubblewrap", func(b *testing.B) {
		bwrap, err := exec.LookPath("bwrap")
		if err != nil {
			b.Skip(err)
		}
		for b.Loop() {
			out, err := exec.Command(bwrap, "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib",
				"--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/usr/bin/true").CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}

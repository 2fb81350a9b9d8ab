package e2e

import (
	"os"
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

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Supervisors and clean-ups at once: nobody's run is taken for an orphan, and
// every journal verifies, the shared copy too.
func TestManySupervisorsAndClean(t *testing.T) {
	t.Parallel()
	const supervisors, each = 3, 20
	dir := t.TempDir()
	jsonl := filepath.Join(dir, "events.jsonl")
	env := installation(dir, "CELLOS_JSONL_SINK_PATH="+jsonl)
	spec := writeFile(t, dir, "cell.json", `{"apiVersion": "cellos.io/v1", "kind": "ExecutionCell",
		"spec": {"id": "neighbour", "authority": {}, "lifetime": {"ttlSeconds": 60}, "run": {"argv": ["true"]}}}`)

	var running, cleaning sync.WaitGroup
	over := make(chan struct{})
	for range supervisors {
		running.Go(func() {
			for range each {
				if got := invoker.supervisor(t, env, "-q", spec); got.code != 0 {
					t.Errorf("run: %s", got)
				}
			}
		})
	}
	cleaning.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			if got := invoker.cellos(t, env, "gc"); got.code != 0 || got.stdout != "nothing to clean up\n" {
				t.Errorf("gc: %s", got)
			}
		}
	})
	running.Wait()
	close(over)
	cleaning.Wait()

	runs, _ := filepath.Glob(filepath.Join(dir, "state", "journal", "runs", "*.jsonl"))
	if len(runs) != supervisors*each {
		t.Errorf("%d runs in the journal, want %d", len(runs), supervisors*each)
	}
	for _, args := range [][]string{
		{"audit", "verify"},
		{"audit", "verify", jsonl, "--host-chain", filepath.Join(dir, "state", "journal", "host.jsonl")},
	} {
		got := invoker.cellos(t, env, args...)
		if got.code != 0 || !strings.Contains(got.stdout, " of 60 runs") {
			t.Errorf("%s: %s", strings.Join(args, " "), got)
		}
	}
	verifyIndependently(t, jsonl, filepath.Join(dir, "state"))
	if left, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(left) != 0 {
		t.Errorf("the runtime directory has %v, %v", left, err)
	}
}

// Supervisors that start at the same moment clean up after each other's
// beginnings, which are nobody's remains.
func TestManySupervisorsStartAtOnce(t *testing.T) {
	t.Parallel()
	const supervisors = 16
	dir := t.TempDir()
	env := installation(dir)
	spec := writeFile(t, dir, "cell.json", `{"apiVersion": "cellos.io/v1", "kind": "ExecutionCell",
		"spec": {"id": "neighbour", "authority": {}, "lifetime": {"ttlSeconds": 60}, "run": {"argv": ["true"]}}}`)
	var running sync.WaitGroup
	for range supervisors {
		running.Go(func() {
			if got := invoker.supervisor(t, env, "-q", spec); got.code != 0 {
				t.Errorf("run: %s", got)
			}
		})
	}
	running.Wait()
	if got := invoker.cellos(t, env, "audit", "verify"); got.code != 0 {
		t.Errorf("audit verify: %s", got)
	}
}

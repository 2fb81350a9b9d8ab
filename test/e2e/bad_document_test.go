package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const corpus = "../../cell/testdata/corpus"

func corpusFiles(t *testing.T, kind string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(corpus, kind, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var docs []string
	for _, path := range paths {
		if !strings.HasSuffix(path, ".want") {
			docs = append(docs, path)
		}
	}
	if len(docs) == 0 {
		t.Fatalf("no documents in %s", corpus)
	}
	return docs
}

// installation is the environment of one state directory in dir.
func installation(dir string, more ...string) []string {
	return append([]string{
		"CELLOS_DEPLOYMENT_PROFILE=portable", "CELLOS_CELL_BACKEND=stub", "CELLOS_SUBPROCESS_UNSHARE=net,mnt",
		"CELLOS_STATE_DIR=" + filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR=" + filepath.Join(dir, "run"),
	}, more...)
}

// Every invalid document ends with 120 and a place to look at. What has a valid
// id leaves the trail of a denied cell, what has none leaves nothing.
func TestInvalidDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	runs := func() []string {
		paths, _ := filepath.Glob(filepath.Join(state, "journal", "runs", "*"))
		return paths
	}
	denied, silent := 0, 0
	for _, path := range corpusFiles(t, "invalid") {
		name := filepath.Base(path)
		copyFile(t, path, filepath.Join(dir, name))
		cmd := invoker.command(installation(dir), "cellos-supervisor", name)
		cmd.Dir = dir
		before := len(runs())
		got := invoker.run(t, cmd)
		if got.code != 120 || !strings.HasPrefix(got.stderr, name+":") || !strings.Contains(got.stderr, "(exit 120)") {
			t.Errorf("%s: %s", name, got)
		}
		switch len(runs()) - before {
		case 0:
			silent++
		case 1:
			denied++
		default:
			t.Errorf("%s made %d runs", name, len(runs())-before)
		}
	}
	for _, path := range runs() {
		events := readTrail(t, path)
		if len(events) != 3 || len(byType(events, "admission.v1.decided")) != 1 ||
			len(byType(events, "lifecycle.v1.destroyed")) != 1 || len(byType(events, "evidence_bundle.v1.emitted")) != 1 {
			t.Errorf("%s is not admission, destroyed, bundle: %v", path, events)
			continue
		}
		wantData(t, events[0], "verdict", "denied")
	}
	if got := invoker.cellos(t, installation(dir), "audit", "verify"); got.code != 0 {
		t.Errorf("audit verify: %s", got)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(left) != 0 {
		t.Errorf("the runtime directory has %v, %v", left, err)
	}
	if denied == 0 || silent == 0 {
		t.Errorf("%d denied cells and %d documents without an id: the corpus lacks one kind", denied, silent)
	}
}

// Every valid document is judged without running or creating anything: 0, or
// 122 with a path for each thing that cannot be enforced here.
func TestValidDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := installation(dir, "CELLOS_VALIDATE_ONLY=1")
	seen := map[int]int{}
	for _, path := range corpusFiles(t, "valid") {
		name := filepath.Base(path)
		copyFile(t, path, filepath.Join(dir, name))
		got := invoker.supervisor(t, env, filepath.Join(dir, name))
		seen[got.code]++
		switch {
		case got.code == 0:
		case got.code == 122 && strings.Contains(got.stdout, `"path": "spec.`):
		default:
			t.Errorf("%s: %s", name, got)
		}
	}
	if seen[0] == 0 || seen[122] == 0 {
		t.Errorf("exit codes %v: the corpus lacks one kind", seen)
	}
	for _, name := range []string{"state", "run"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("validation made %s", name)
		}
	}
}

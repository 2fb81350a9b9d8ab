package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/ledger"
)

// orphan leaves what a supervisor that was killed leaves: a trail that is not
// sealed, and a runtime directory with its ledger.
func (b *bench) orphan(t *testing.T) (trail, dir string) {
	t.Helper()
	id := event.NewID(time.Now())
	r, err := b.Journal.OpenRun(journal.RunSpec{Scope: event.Scope{SpecID: "c", CellID: cellID(id), RunID: id}, RuntimeDir: b.RuntimeDir})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.Emit(event.AdmissionDecided{Verdict: event.VerdictAllowed}); err != nil {
			t.Fatal(err)
		}
	}
	d, err := createRunDir(b.RuntimeDir, id)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Create(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Intend(kindRunDir, d.path); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	d.close()
	return r.Path(), d.path
}

// A trail that someone has damaged is evidence, and no reason to leave
// anything of the cell on the host.
func TestADamagedTrailDoesNotKeepTheCell(t *testing.T) {
	b := newBench(t)
	trail, dir := b.orphan(t)
	content, err := os.ReadFile(trail)
	if err != nil {
		t.Fatal(err)
	}
	content[0] = '['
	if err := os.WriteFile(trail, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and it can be repeated
		_, err := b.Collect(t.Context())
		if !errors.As(err, new(*journal.CorruptError)) {
			t.Errorf("got %v, want the damage to be said", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the runtime directory is still there: %v", err)
		}
	}
	if after, err := os.ReadFile(trail); err != nil || string(after) != string(content) {
		t.Errorf("the damaged trail was touched: %v", err)
	}
}

// Whoever finishes a run finds what is left of it, whatever his own runtime
// directory is: else the receipt would prove the absence of what never was
// there.
func TestAnOrphanIsFoundInItsOwnRuntimeDirectory(t *testing.T) {
	b := newBench(t)
	_, dir := b.orphan(t)
	b.RuntimeDir = t.TempDir()
	collected, err := b.Collect(t.Context())
	if err != nil || len(collected) != 1 || collected[0].Remaining != nil {
		t.Fatalf("%v, %v", collected, err)
	}
	if exists(dir) {
		t.Errorf("%s is still there", dir)
	}
	if trail := b.trail(t); !strings.Contains(trail, `"id":"`+dir+`"`) || !strings.Contains(trail, `"residueClass":"none"`) {
		t.Errorf("the receipt is about something else:\n%s", trail)
	}
}

// A run that was sealed with something remaining may have its mark still. Its
// ledger is not thrown away.
func TestWhatRemainedOfASealedRunIsRemoved(t *testing.T) {
	b := newBench(t)
	trail, dir := b.orphan(t)
	id := filepath.Base(dir)
	r, err := b.Journal.ResumeRun(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Seal(); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(journal.Dir(b.state), "open", id)
	if err := os.WriteFile(mark, []byte(b.RuntimeDir), 0o600); err != nil {
		t.Fatal(err)
	}
	remained := &fakeCell{killed: make(chan struct{})}
	pid := remained.PID()
	defer remained.Kill()
	started, err := startTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := l.Intend(kindProcess, filepath.Join(dir, initLockName))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Bind(entry, map[string]string{attrPID: strconv.Itoa(pid), attrStartTime: started}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := b.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(state), ") Z ") {
		t.Errorf("the process of a sealed run lives: %s", state)
	}
	if exists(dir) || exists(mark) {
		t.Errorf("still there: %v %v; the trail is %s", exists(dir), exists(mark), trail)
	}
}

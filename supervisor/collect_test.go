package supervisor

import (
	"errors"
	"os"
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
	r, err := b.Journal.OpenRun(journal.RunSpec{Scope: event.Scope{SpecID: "c", CellID: cellID(id), RunID: id}})
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

package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cellos.io/cellos/ledger"
)

// fill makes a ledger with three entries: a (bound), b (struck out), c.
func fill(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, key := range []string{"a", "b", "c"} {
		if _, err := l.Intend("thing", key); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Bind(0, map[string]string{"pid": "42"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Strike(1); err != nil {
		t.Fatal(err)
	}
	return l
}

func keys(entries []ledger.Entry) (out []string) {
	for _, e := range entries {
		out = append(out, e.Key)
	}
	return out
}

func reopen(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestWhatWasWrittenIsFound(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	got := reopen(t, dir).Pending()
	if want := []string{"a", "c"}; !slices.Equal(keys(got), want) {
		t.Fatalf("pending %v, want %v", keys(got), want)
	}
	if got[0].Bound["pid"] != "42" || got[1].Bound != nil {
		t.Errorf("bound: %v", got)
	}
}

// A kill can end any write(2) short. Whatever the cut leaves, an entry is
// either whole or was never created.
func TestEveryCutIsReadable(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	whole, err := os.ReadFile(filepath.Join(dir, ledger.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		cutDir := t.TempDir()
		path := filepath.Join(cutDir, ledger.FileName)
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l := reopen(t, cutDir)
		if _, err := l.Intend("thing", "next"); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		pending := keys(reopen(t, cutDir).Pending())
		if pending[len(pending)-1] != "next" {
			t.Errorf("cut at %d: pending %v does not end with what was added", cut, pending)
		}
	}
}

func TestDamageIsAnError(t *testing.T) {
	for name, content := range map[string]string{
		"not JSON":         "garbage\n",
		"empty record":     "{}\n",
		"unknown entry":    `{"strike":3}` + "\n",
		"missing entry":    `{"intend":{"seq":1,"kind":"thing","key":"x"}}` + "\n",
		"larger than read": strings.Repeat("x", 1<<20+1),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ledger.FileName), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if l, err := ledger.Open(dir); err == nil {
				t.Errorf("opened, pending %v", l.Pending())
			}
		})
	}
}

func TestReclaimTriesEverythingInReverse(t *testing.T) {
	dir := t.TempDir()
	l := fill(t, dir)
	broken := errors.New("device busy")
	var order []string
	remove := func(_ context.Context, e ledger.Entry) (ledger.Check, error) {
		order = append(order, e.Key)
		if e.Key == "c" {
			return ledger.Check{Method: ledger.ByPath}, broken
		}
		return ledger.Check{Method: ledger.ByPath}, nil
	}
	removers := map[ledger.Kind]ledger.Remover{"thing": remove}
	receipt := ledger.Reclaim(t.Context(), l, removers)
	if want := []string{"c", "a"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if err := receipt.Err(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "thing c") {
		t.Errorf("error %v names neither the resource nor the cause", err)
	}
	if got := keys(reopen(t, dir).Pending()); !slices.Equal(got, []string{"c"}) {
		t.Errorf("pending %v, want what could not be removed", got)
	}

	broken = nil
	order = nil
	if receipt := ledger.Reclaim(t.Context(), l, removers); receipt.Err() != nil || !slices.Equal(order, []string{"c"}) {
		t.Errorf("second attempt: %v, tried %v", receipt.Err(), order)
	}
}

func TestAnUnknownKindIsResidue(t *testing.T) {
	l := fill(t, t.TempDir())
	receipt := ledger.Reclaim(t.Context(), l, nil)
	if len(receipt.Remaining()) != 2 || len(l.Pending()) != 2 {
		t.Errorf("remaining %v, pending %v", receipt.Remaining(), l.Pending())
	}
}

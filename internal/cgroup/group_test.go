package cgroup

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellos.io/cellos/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestGroup makes a group with limits, enters it, and removes it.
func TestGroup(t *testing.T) {
	testenv.Need(t, "root")
	h := Find("")
	for _, c := range []Controller{Memory, CPU} {
		if err := h.Available(c); err != nil {
			t.Skip(err)
		}
	}
	limits := Limits{MemoryBytes: 64 << 20, QuotaMicros: 50_000, PeriodMicros: 100_000}
	name := "test-" + strings.ReplaceAll(t.Name(), "/", "-")
	paths, err := h.Paths(name, limits)
	if err != nil || len(paths) == 0 {
		t.Fatalf("paths %v, %v", paths, err)
	}
	g, err := h.Create(name, limits)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if g.Dir == nil && len(g.Tasks) != len(paths) {
		t.Errorf("%d groups to enter, of %d", len(g.Tasks), len(paths))
	}
	if err := g.Holds(os.Getpid()); err == nil {
		t.Error("this process is in a group that it did not enter")
	}
	if g.Dir == nil {
		text, err := os.ReadFile(filepath.Join(paths[0], "memory.limit_in_bytes"))
		if err != nil || strings.TrimSpace(string(text)) != "67108864" {
			t.Errorf("the limit is %s, %v", text, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 2 { // the second finds nothing
		for _, path := range paths {
			if err := Remove(ctx, path); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s is still there", path)
			}
		}
	}
}

func TestPathsWithoutLimits(t *testing.T) {
	var h *Host
	if paths, err := h.Paths("x", Limits{}); len(paths) != 0 || err != nil {
		t.Errorf("%v, %v", paths, err)
	}
	if _, err := h.Paths("x", Limits{MemoryBytes: 1}); err == nil {
		t.Error("a limit without a controller")
	}
}

package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGroups is a directory with the files of version 2 that are looked at
// before anything is tried.
func fakeGroups(t *testing.T, offered, on string) hierarchy {
	t.Helper()
	h := hierarchy{mount: t.TempDir(), root: "/", v2: true}
	h.own = filepath.Join(h.mount, "own")
	for _, dir := range []string{h.mount, h.own} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"cgroup.controllers": offered, "cgroup.subtree_control": on} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

func TestCgroupParent(t *testing.T) {
	none := func(h hierarchy) hierarchy { h.own = ""; return h }
	for _, test := range []struct {
		name, parent string
		h            hierarchy
		want         Answer // "": to be tried
		detail       string
	}{
		{"on", "", fakeGroups(t, "cpu memory pids\n", "memory pids\n"), "", ""},
		{"offered", "", fakeGroups(t, "memory\n", "\n"), Works, "a cell turns it on"},
		{"not offered", "", fakeGroups(t, "cpu pids\n", "\n"), Unsupported, "does not offer the memory controller"},
		{"a name that contains it", "", fakeGroups(t, "memory_recursiveprot\n", "\n"), Unsupported, "does not offer"},
		{"named, to be made", "/a/b", fakeGroups(t, "memory\n", "memory\n"), "", ""},
	} {
		parent, r := Options{CgroupParent: test.parent}.cgroupParent(test.h, "memory")
		if r.Answer != test.want || !strings.Contains(r.Detail, test.detail) || (r.Answer == Unsupported) != (r.Remedy != "") {
			t.Errorf("%s: %q, %+v", test.name, parent, r)
		}
		if _, err := os.Stat(parent); r.Answer == "" && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if os.Geteuid() == 0 {
		return
	}
	if _, r := (Options{}).cgroupParent(none(fakeGroups(t, "memory", "memory")), "memory"); r.Answer != Unsupported {
		t.Errorf("no group of its own: %+v", r)
	}
	if _, r := (Options{}).cgroupParent(hierarchy{mount: "/", controllers: []string{"memory"}}, "memory"); r.Answer != Unsupported {
		t.Errorf("version 1: %+v", r)
	}
}

func TestSweepLeavesWhatIsInUse(t *testing.T) {
	dir := t.TempDir()
	dead, alive, other := groupPrefix+"999999999-memory", groupPrefix+"1-memory", "cellos-probe"
	for _, name := range []string{dead, alive, other} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sweep(dir)
	for name, want := range map[string]bool{dead: false, alive: true, other: true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

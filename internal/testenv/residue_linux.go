package testenv

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// tempPrefix names the directories of test runs, this one's and those of
// packages that are tested at the same time.
const tempPrefix = "cellos-test-"

// A Snapshot is everything that a test could leave behind, each thing as a
// line that is the same as long as it is the same thing.
type Snapshot struct {
	tmp   string
	lines map[string]bool
}

// Take returns what there is now.
func Take() Snapshot { return take(os.TempDir()) }

func take(tmp string) Snapshot {
	s := Snapshot{tmp: tmp, lines: map[string]bool{}}
	s.processes()
	s.mounts()
	s.cgroups()
	s.links()
	s.descriptors()
	s.files()
	return s
}

// added lists what is in after and was not in s.
func (s Snapshot) added(after Snapshot) []string {
	var left []string
	for line := range after.lines {
		if !s.lines[line] {
			left = append(left, line)
		}
	}
	sort.Strings(left)
	return left
}

func (s Snapshot) add(format string, args ...any) {
	s.lines[fmt.Sprintf(format, args...)] = true
}

// processes adds the descendants of this process, and those of their
// namespaces that are not its own.
func (s Snapshot) processes() {
	own := namespaces("self")
	for _, p := range Descendants(os.Getpid()) {
		s.add("process %d (%s), child of %d", p.PID, p.Name, p.Parent)
		for kind, id := range namespaces(strconv.Itoa(p.PID)) {
			if own[kind] != id {
				s.add("namespace %s of process %d", id, p.PID)
			}
		}
	}
}

func namespaces(pid string) map[string]string {
	ids := map[string]string{}
	dir := filepath.Join("/proc", pid, "ns")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if id, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			ids[e.Name()] = id
		}
	}
	return ids
}

// mounts adds the mounts of this namespace. What other packages' tests mount
// in their own directories is theirs.
func (s Snapshot) mounts() {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		// proc_pid_mountinfo(5): id, parent, device, root, mount point.
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		target := fields[4]
		if !strings.Contains(target, tempPrefix) || within(target, s.tmp) {
			s.add("mount %s on %s", fields[0], target)
		}
	}
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// cgroups adds the directories that are or were to be ours.
func (s Snapshot) cgroups() {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "cellos") {
			s.add("cgroup %s", path)
		}
		return nil // one that went away meanwhile is not there
	})
}

func (s Snapshot) links() {
	links, _ := net.Interfaces()
	for _, l := range links {
		s.add("network interface %d %s", l.Index, l.Name)
	}
}

// descriptors adds what this process has open. The Go runtime opens its
// poller when it first needs one, and keeps it.
func (s Snapshot) descriptors() {
	const dir = "/proc/self/fd"
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		if strings.HasPrefix(target, "/proc/") {
			continue // the directory being read
		}
		s.add("descriptor %s of %s", e.Name(), target)
	}
}

// files adds what is in the temporary directory of the run and the top of
// the directories that a cell uses by default.
func (s Snapshot) files() {
	dirs := []string{s.tmp, "/run/cellos", "/var/lib/cellos"}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Name() == "ids" && dir != s.tmp {
				continue // the host's one lock file, made once and for all cells
			}
			s.add("file %s", filepath.Join(dir, e.Name()))
		}
	}
}

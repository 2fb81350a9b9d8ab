package plan

import (
	"fmt"
	"path"
	"strings"
)

// Home is the home directory of a cell's user.
const Home = "/home/cell"

// A FileView is all that a cell sees of files: a table that is carried out
// from the top on an empty root, which is then made read-only. Every mount is
// nosuid and nodev.
type FileView struct {
	Entries []FileEntry `json:"entries"`
	// DiskMax bounds what the cell may write beside its declared mounts, in
	// bytes: all entries of kind scratch together.
	DiskMax uint64 `json:"diskMaxBytes"`
}

// FileKind is what an entry makes.
type FileKind string

// The kinds of entries.
const (
	KindDir      FileKind = "dir"      // a directory
	KindFile     FileKind = "file"     // a file with Content
	KindLink     FileKind = "link"     // a symbolic link to Source
	KindSystem   FileKind = "system"   // a path of the host that every user may read
	KindMount    FileKind = "mount"    // a path of the host that the document declares
	KindScratch  FileKind = "scratch"  // a fresh directory that the cell may write
	KindDevice   FileKind = "device"   // a device of the host
	KindProc     FileKind = "proc"     // a fresh proc(5)
	KindTerminal FileKind = "terminal" // fresh devpts
	KindMask     FileKind = "mask"     // hides what is at Target, if there is
	KindFreeze   FileKind = "freeze"   // makes what is at Target, if there is, read-only
)

// A FileEntry is one line of a file view.
type FileEntry struct {
	Target string   `json:"target"`
	Kind   FileKind `json:"kind"`
	// Source is a path of the host, or the text of a link.
	Source  string `json:"source,omitempty"`
	Content string `json:"content,omitempty"`
	Mode    uint32 `json:"mode,omitempty"`
	// User says that the entry belongs to the cell's user, not to root.
	User bool `json:"user,omitempty"`
	// File says that a mount is one of a file, not of a directory.
	File     bool `json:"file,omitempty"`
	ReadOnly bool `json:"readOnly,omitempty"`
	NoExec   bool `json:"noExec,omitempty"`
	// Below is a source that Source lies in: from there on no symbolic link
	// is followed.
	Below string `json:"below,omitempty"`
	// Map is how owners appear, and Owner who appears as the cell's user.
	Map   Mapping `json:"map,omitempty"`
	Owner *User   `json:"owner,omitempty"`
	// Found is what the source was when the plan was made; it must still be
	// that when it is mounted.
	Found *FileID `json:"found,omitempty"`
	Why   string  `json:"why"`
}

// Mapping is how the owners of a mount's files appear in the cell.
type Mapping string

// The mappings.
const (
	MapNone Mapping = ""     // as nobody, but for whoever the cell's user is outside
	MapUser Mapping = "user" // Owner appears as the cell's user
	MapAll  Mapping = "all"  // ids 0 to 65535 one to one
)

// FileID names a file of this host for as long as the host runs.
type FileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// files makes the file view, on a backend that has one.
func (c *compiler) files() {
	if c.host.Files == nil {
		c.hostFiles()
		return
	}
	f := &fileCompiler{compiler: c, facts: c.host.Files, view: &FileView{DiskMax: c.disk()}}
	if env := c.spec.Environment; env != nil && env.Rootfs != "" {
		f.rootfs(env.Rootfs)
	} else {
		f.system()
	}
	f.proc()
	f.dev()
	f.scratch()
	f.secrets()
	f.mounts()
	f.workingDirectory()
	c.plan.Files = f.view
}

// hostFiles refuses what a backend without a file view of its own would have
// to ignore.
func (c *compiler) hostFiles() {
	refuse := func(declared bool, field, what string) {
		if declared {
			c.refuse(field, fmt.Sprintf("backend %s has no %s", c.host.Backend, what), "set CELLOS_CELL_BACKEND=native, or remove "+field)
		}
	}
	if env := c.spec.Environment; env != nil {
		refuse(env.Base != "", "spec.environment.base", "file view of its own")
		refuse(env.Rootfs != "", "spec.environment.rootfs", "file view of its own")
	}
	refuse(c.spec.Authority.Filesystem != nil, "spec.authority.filesystem", "file view of its own")
	if run := c.spec.Run; run != nil {
		refuse(run.User != "", "spec.run.user", "user of the cell's own")
		refuse(run.Limits != nil && run.Limits.DiskMaxBytes != nil, "spec.run.limits.diskMaxBytes", "file view of its own")
	}
}

// A fileCompiler fills in a file view.
type fileCompiler struct {
	*compiler
	facts *HostFiles
	view  *FileView
}

func (f *fileCompiler) add(e FileEntry) { f.view.Entries = append(f.view.Entries, e) }

// within reports whether the path name is dir or lies in it.
func within(name, dir string) bool {
	return name == dir || dir == "/" || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// entryAt is the last entry whose mount the path is in.
func (f *fileCompiler) entryAt(name string) (FileEntry, bool) {
	for i := len(f.view.Entries) - 1; i >= 0; i-- {
		if e := f.view.Entries[i]; e.mounted() && within(name, e.Target) {
			return e, true
		}
	}
	return FileEntry{}, false
}

func (e FileEntry) mounted() bool {
	switch e.Kind {
	case KindSystem, KindMount, KindScratch, KindProc, KindTerminal, KindDevice:
		return true
	}
	return false
}

// proc is a fresh /proc in which, as container engines have it, what tells of
// the host is hidden and what would change it is read-only.
func (f *fileCompiler) proc() {
	f.add(FileEntry{Target: "/proc", Kind: KindProc, NoExec: true, Why: "the cell's own processes"})
	for _, name := range []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "driver"} {
		f.add(FileEntry{Target: "/proc/" + name, Kind: KindFreeze, ReadOnly: true, NoExec: true, Why: "settings of the host's kernel"})
	}
	for _, name := range []string{
		"acpi", "asound", "interrupts", "kallsyms", "kcore", "keys", "key-users", "kmsg", "latency_stats", "sched_debug",
		"scsi", "slabinfo", "timer_list", "timer_stats", "vmallocinfo",
	} {
		f.add(FileEntry{Target: "/proc/" + name, Kind: KindMask, Why: "tells of the host"})
	}
}

// dev is the least that programs expect of /dev.
func (f *fileCompiler) dev() {
	const why = "what every program expects of /dev"
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		f.add(FileEntry{Target: "/dev/" + name, Kind: KindDevice, Source: "/dev/" + name, NoExec: true, Why: why})
	}
	f.add(FileEntry{Target: "/dev/pts", Kind: KindTerminal, NoExec: true, Why: "the cell's own terminals"})
	for _, link := range [][2]string{
		{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"},
		{"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	} {
		f.add(FileEntry{Target: "/dev/" + link[0], Kind: KindLink, Source: link[1], Why: why})
	}
}

// scratch is where a cell may always write.
func (f *fileCompiler) scratch() {
	f.add(FileEntry{Target: "/dev/shm", Kind: KindScratch, Mode: 0o1777, NoExec: true, Why: "shared memory of the cell's own (shm_open(3))"})
	f.add(FileEntry{Target: "/tmp", Kind: KindScratch, Mode: 0o1777, Why: "fresh in every cell"})
	f.add(FileEntry{Target: Home, Kind: KindScratch, Mode: 0o700, User: true, Why: "the home directory, fresh in every cell"})
}

// workingDirectory is fresh unless it lies in a declared mount.
func (f *fileCompiler) workingDirectory() {
	p := f.plan.Process
	if p == nil {
		return
	}
	p.Workspace = false // it is an entry of the view
	dir := f.spec.Run.WorkingDirectory
	if dir == "" {
		p.Dir = Home
		return
	}
	at, mounted := f.entryAt(dir)
	if mounted && at.Kind == KindMount && at.Map != MapAll {
		return
	}
	const field = "spec.run.workingDirectory"
	switch {
	case !mounted, at.Kind == KindScratch:
	case at.Kind == KindSystem || at.Kind == KindMount:
		if f.facts.Missing[dir] {
			f.refuse(field, fmt.Sprintf("%s is not there, and %s is read-only, so it cannot be made", dir, at.Target), "use a directory of the cell's own, such as /work")
			return
		}
	default:
		f.refuse(field, "lies in "+at.Target, "use a directory of the cell's own, such as /work")
		return
	}
	if within(dir, Home) && dir != Home || within(dir, "/tmp") && dir != "/tmp" {
		f.ownParents(dir, at.Target)
	}
	if dir == Home || dir == "/tmp" {
		return // fresh already
	}
	f.add(FileEntry{Target: dir, Kind: KindScratch, Mode: 0o755, User: true, Why: "the working directory, fresh in every cell"})
}

// ownParents gives the cell's user the directories between one of his and a
// path below it.
func (f *fileCompiler) ownParents(name, top string) {
	var dirs []string
	for dir := path.Dir(name); dir != top && within(dir, top); dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		f.add(FileEntry{Target: dirs[i], Kind: KindDir, Mode: 0o755, User: true, Why: "leads to the working directory"})
	}
}

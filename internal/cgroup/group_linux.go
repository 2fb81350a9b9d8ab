package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one group. Zero is no limit.
type Limits struct {
	MemoryBytes               uint64
	QuotaMicros, PeriodMicros uint64
}

func (l Limits) controllers() []Controller {
	var list []Controller
	if l.MemoryBytes != 0 {
		list = append(list, Memory)
	}
	if l.QuotaMicros != 0 {
		list = append(list, CPU)
	}
	return list
}

// Paths are the directories that a group of this name with these limits will
// have, in the order of their creation.
func (h *Host) Paths(name string, l Limits) ([]string, error) {
	var list []string
	for _, c := range l.controllers() {
		if err := h.Available(c); err != nil {
			return nil, err
		}
		if dir := filepath.Join(h.parents[c].dir, name); !slices.Contains(list, dir) {
			list = append(list, dir)
		}
	}
	return list, nil
}

// A Group is the control group of a cell.
type Group struct {
	paths []string
	// Tasks are for the thread that starts the workload to write "0" to;
	// there are none with version 2.
	Tasks []*os.File
	// Dir is for the first process to be cloned into (CLONE_INTO_CGROUP), or
	// nil with version 1.
	Dir *os.File
}

// Create makes a group. Its paths are those of Paths, and whoever calls it has
// written them down.
func (h *Host) Create(name string, l Limits) (*Group, error) {
	paths, err := h.Paths(name, l)
	if err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	g := &Group{paths: paths}
	if err := g.create(h, name, l); err != nil {
		g.Close()
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	return g, nil
}

func (g *Group) create(h *Host, name string, l Limits) error {
	for _, c := range l.controllers() {
		p := h.parents[c]
		dir := filepath.Join(p.dir, name)
		if err := p.make(dir, c); err != nil {
			return err
		}
		for _, s := range settings(c, p.version, l) {
			err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0)
			if err != nil && (!s.optional || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP)) {
				return err
			}
		}
		switch {
		case p.version == 1:
			tasks, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			g.Tasks = append(g.Tasks, tasks)
		case g.Dir == nil:
			f, err := os.Open(dir)
			if err != nil {
				return err
			}
			g.Dir = f
		}
	}
	return nil
}

// make makes a group. The one above it may be removed meanwhile, with the last
// cell of somebody else.
func (p parent) make(dir string, c Controller) error {
	const attempts = 10
	var err error
	for range attempts {
		if err = p.tryMake(dir, c); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			break
		}
	}
	return err
}

// tryMake makes a group and those above it, each of which, with version 2, has
// to pass the controller on.
func (p parent) tryMake(dir string, c Controller) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if p.version == 2 {
		for _, above := range []string{filepath.Dir(p.dir), p.dir} {
			control := filepath.Join(above, "cgroup.subtree_control")
			on, err := os.ReadFile(control)
			if err != nil {
				return err
			}
			if slices.Contains(strings.Fields(string(on)), string(c)) {
				continue
			}
			if err := os.WriteFile(control, []byte("+"+string(c)), 0); err != nil {
				return fmt.Errorf("%w; a group that passes controllers on has no processes of its own", err)
			}
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

type setting struct {
	file, value string
	optional    bool // where the kernel does not have it
}

// settings are what limits are written as.
func settings(c Controller, version int, l Limits) []setting {
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	switch {
	case c == Memory && version == 1:
		return []setting{
			{file: "memory.limit_in_bytes", value: n(l.MemoryBytes)},
			// With swap, which is then none.
			{file: "memory.memsw.limit_in_bytes", value: n(l.MemoryBytes), optional: true},
		}
	case c == Memory:
		return []setting{
			{file: "memory.max", value: n(l.MemoryBytes)},
			{file: "memory.swap.max", value: "0", optional: true},
			{file: "memory.oom.group", value: "1", optional: true},
		}
	case version == 1:
		return []setting{
			{file: "cpu.cfs_period_us", value: n(l.PeriodMicros)},
			{file: "cpu.cfs_quota_us", value: n(l.QuotaMicros)},
		}
	}
	return []setting{{file: "cpu.max", value: n(l.QuotaMicros) + " " + n(l.PeriodMicros)}}
}

// Holds reports whether a thread is in the group, in every hierarchy.
func (g *Group) Holds(tid int) error {
	for _, dir := range g.paths {
		file := filepath.Join(dir, "tasks")
		if g.Dir != nil {
			file = filepath.Join(dir, "cgroup.threads")
		}
		list, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(string(list)), strconv.Itoa(tid)) {
			return fmt.Errorf("thread %d is not in %s", tid, dir)
		}
	}
	return nil
}

// Close releases the descriptors. The group stays.
func (g *Group) Close() {
	for _, f := range g.Tasks {
		f.Close()
	}
	if g.Dir != nil {
		g.Dir.Close()
	}
	g.Tasks, g.Dir = nil, nil
}

// removeInterval is how often a removal looks again: the kernel empties a
// group some time after the death of what was in it.
const removeInterval = 2 * time.Millisecond

// Remove removes a directory of a group whose processes have ended. One that
// is not there is no error. The default parent goes with the last of its
// groups.
func Remove(ctx context.Context, dir string) error {
	for {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			if above := filepath.Dir(dir); filepath.Base(above) == filepath.Base(DefaultParent) {
				_ = os.Remove(above) // refused while it has others
			}
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		// With version 2 this ends what has been left (cgroup.kill).
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(removeInterval):
		}
	}
}

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Controller limits one resource.
type Controller string

// The controllers that cells use.
const (
	Memory Controller = "memory"
	CPU    Controller = "cpu"
)

// DefaultParent is the group that those of cells are made in.
const DefaultParent = "/cellos"

// A Host is where groups can be made.
type Host struct {
	parents map[Controller]parent
	errs    map[Controller]error
}

// A parent is the directory of the group that those of cells are made in.
type parent struct {
	dir     string
	version int
}

// Find looks for the controllers. Without an error in Available a group with
// a limit of that controller can be made.
func Find(name string) *Host {
	h := &Host{parents: map[Controller]parent{}, errs: map[Controller]error{}}
	if name == "" {
		name = DefaultParent
	}
	mounts := mounted()
	for _, c := range []Controller{Memory, CPU} {
		p, err := mounts.find(c, name)
		if err != nil {
			h.errs[c] = err
			continue
		}
		h.parents[c] = p
	}
	return h
}

// Available reports why limits of a controller cannot be set, or nil. A nil
// Host has none.
func (h *Host) Available(c Controller) error {
	if h == nil {
		return errors.New("no cgroups were looked for")
	}
	return h.errs[c]
}

// mounts are the hierarchies of this mount namespace.
type mounts struct {
	v1      map[Controller]string
	unified string
}

func mounted() mounts {
	m := mounts{v1: map[Controller]string{}}
	table, _ := os.ReadFile("/proc/self/mounts")
	for line := range bytes.Lines(table) {
		// Source, mount point, type, options: fstab(5).
		f := strings.Fields(string(line))
		if len(f) < 4 {
			continue
		}
		switch f[2] {
		case "cgroup2":
			m.unified = f[1]
		case "cgroup":
			for _, c := range []Controller{Memory, CPU} {
				if slices.Contains(strings.Split(f[3], ","), string(c)) {
					m.v1[c] = f[1]
				}
			}
		}
	}
	return m
}

// find is the directory in which groups of a controller can be made. With
// version 1 a controller is in one hierarchy and not in the unified one.
func (m mounts) find(c Controller, name string) (parent, error) {
	if dir, ok := m.v1[c]; ok {
		if os.Geteuid() != 0 {
			return parent{}, fmt.Errorf("cgroup version 1 gives the %s controller to root alone", c)
		}
		if unix.Access(dir, unix.W_OK) != nil {
			return parent{}, fmt.Errorf("%s cannot be written", dir)
		}
		return parent{filepath.Join(dir, name), 1}, nil
	}
	if m.unified == "" {
		return parent{}, fmt.Errorf("no cgroup has the %s controller", c)
	}
	dir := filepath.Join(m.unified, name)
	// What is not there yet is made by whoever may write above it.
	top := dir
	for top != m.unified && unix.Access(top, unix.F_OK) != nil {
		top = filepath.Dir(top)
	}
	if unix.Access(top, unix.W_OK) != nil {
		return parent{}, fmt.Errorf("%s is not delegated to user %d", top, os.Geteuid())
	}
	offered, err := os.ReadFile(filepath.Join(top, "cgroup.controllers"))
	if err != nil || !slices.Contains(strings.Fields(string(offered)), string(c)) {
		return parent{}, fmt.Errorf("%s does not have the %s controller", top, c)
	}
	return parent{dir, 2}, nil
}

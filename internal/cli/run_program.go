package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// caller is what cellos run takes from whoever calls it.
type caller struct {
	dir  string // working directory
	home string
	path string
	term string
}

func callerOf(env *Env) (caller, error) {
	dir, err := os.Getwd()
	if err != nil {
		return caller{}, fmt.Errorf("working directory: %w", err)
	}
	return caller{dir: dir, home: env.Getenv("HOME"), path: env.Getenv("PATH"), term: env.Getenv("TERM")}, nil
}

// abs is a path of the caller's from / on.
func (c caller) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(c.dir, path)
}

// A missingError is a program that the caller does not have either.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// executable is a program of the caller's.
type executable struct {
	path string // as it was found
	real string // without symbolic links
}

// find looks a program up as a shell does, but for entries of PATH that are
// relative: what they lead to depends on where one stands.
func (c caller) find(name string) (executable, error) {
	if strings.Contains(name, "/") {
		return resolve(c.abs(name), name)
	}
	for _, dir := range filepath.SplitList(c.path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return resolve(path, name)
		}
	}
	return executable{}, &missingError{fmt.Sprintf("%q: there is no such program in your PATH", name)}
}

func resolve(path, name string) (executable, error) {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return executable{}, &missingError{fmt.Sprintf("%q: there is no such program", name)}
	case err != nil:
		return executable{}, fmt.Errorf("%q: %w", name, err)
	}
	return executable{path, real}, nil
}

// systemView are the directories of the host that every cell sees.
var systemView = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"}

// A view is the directories that a cell sees where the host has them.
type view []string

func (v view) has(path string) bool {
	return slices.ContainsFunc(v, func(dir string) bool { return within(path, dir) })
}

// sees reports whether a program can be found and run under its own path.
func (v view) sees(e executable) bool { return v.has(e.path) && v.has(e.real) }

// within reports whether a path is a directory or lies in it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// tool is what makes a program usable in a cell: the directory to mount, which
// is empty if the cell sees the program anyway, and the one to look it up in.
type tool struct{ mount, bin string }

// toolFor finds the directory that a program is installed in: the parent of
// the bin that really holds it, so that its libraries come along. The caller's
// home and everything above it is never taken: it holds more than a program.
func (c caller) toolFor(name string, seen view) (tool, error) {
	e, err := c.find(name)
	if err != nil {
		return tool{}, err
	}
	if seen.sees(e) {
		return tool{bin: filepath.Dir(e.path)}, nil
	}
	if filepath.Base(e.real) != filepath.Base(name) {
		// A link with a name of its own, such as npm to npm-cli.js: what
		// holds the link is the installation, if it holds the program too.
		if dir, err := filepath.EvalSymlinks(filepath.Dir(e.path)); err == nil {
			if prefix := prefixOf(dir); within(e.real, prefix) && c.mayMount(prefix) {
				return tool{mount: prefix, bin: dir}, nil
			}
		}
	}
	dir := filepath.Dir(e.real)
	prefix := prefixOf(dir)
	if seen.has(dir) {
		return tool{bin: dir}, nil
	}
	if !c.mayMount(prefix) {
		return tool{}, fmt.Errorf("it is installed in %s, which holds more than programs; use --mount %s", prefix, e.real)
	}
	return tool{mount: prefix, bin: dir}, nil
}

// prefixOf is the installation that a directory of programs belongs to.
func prefixOf(dir string) string {
	if base := filepath.Base(dir); base == "bin" || base == "sbin" {
		return filepath.Dir(dir)
	}
	return dir
}

// mayMount reports whether a directory can be an installation: not the root,
// the home of the caller, what contains it, or where programs keep their data
// in it (XDG Base Directory Specification).
func (c caller) mayMount(prefix string) bool {
	homes := []string{c.home}
	if real, err := filepath.EvalSymlinks(c.home); err == nil {
		homes = append(homes, real)
	}
	for _, home := range homes {
		if home != "" && (within(home, prefix) || prefix == filepath.Join(home, ".local")) {
			return false
		}
	}
	return prefix != "/"
}

// Command sabotage proves that the tests can fail. Each patch below patches/
// breaks one promise in one line and names the test that must notice:
//
//	# promise: a denied name is never asked upstream
//	# test: ./egress/dnsproxy TestDenied
//	--- a/egress/dnsproxy/handle.go
//	…
//
// It works on a copy of the tracked files. A test that is red without the
// patch, a patch that no longer applies, and one that does not compile are
// failures as well: they prove nothing.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// testTimeout bounds one test run, which includes a build.
const testTimeout = 5 * time.Minute

type patch struct {
	path    string
	promise string
	pkg     string
	test    string
}

func (p patch) name() string { return strings.TrimSuffix(filepath.Base(p.path), ".patch") }

func main() {
	list := flag.Bool("list", false, "print the promises and their tests, run nothing")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: sabotage [-list] [NAME…]\n\nNAME is a patch without .patch; default all.")
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Args(), *list); err != nil {
		fmt.Fprintln(os.Stderr, "sabotage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, list bool) error {
	root, err := output(ctx, ".", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	patches, err := load(filepath.Join(root, "test", "sabotage", "patches"), names)
	if err != nil {
		return err
	}
	if list {
		for _, p := range patches {
			fmt.Printf("%-32s %s\n%-32s   %s %s\n", p.name(), p.promise, "", p.pkg, p.test)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "cellos-sabotage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(ctx, root, dir); err != nil {
		return err
	}
	if err := baseline(ctx, dir, patches); err != nil {
		return err
	}
	var survived []error
	for _, p := range patches {
		start := time.Now()
		if err := try(ctx, dir, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			survived = append(survived, fmt.Errorf("%s: %w", p.name(), err))
			fmt.Printf("FAIL  %s: %v\n", p.name(), err)
			continue
		}
		fmt.Printf("ok    %s: noticed by %s (%.1fs)\n", p.name(), p.test, time.Since(start).Seconds())
	}
	fmt.Printf("sabotage: %d of %d promises are guarded\n", len(patches)-len(survived), len(patches))
	return errors.Join(survived...)
}

// load reads the patches and checks that each is what it claims to be.
func load(dir string, names []string) ([]patch, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var patches []patch
	for _, path := range paths {
		p := patch{path: path}
		if len(names) > 0 && !slices.Contains(names, p.name()) {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		added, removed := 0, 0
		lines := bufio.NewScanner(bytes.NewReader(b))
		for lines.Scan() {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, "# promise: "):
				p.promise = strings.TrimPrefix(line, "# promise: ")
			case strings.HasPrefix(line, "# test: "):
				p.pkg, p.test, _ = strings.Cut(strings.TrimPrefix(line, "# test: "), " ")
			case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
			case strings.HasPrefix(line, "+"):
				added++
			case strings.HasPrefix(line, "-"):
				removed++
			}
		}
		if p.promise == "" || p.test == "" {
			return nil, fmt.Errorf("%s: names no promise or no test", path)
		}
		if added > 1 || removed > 1 || added+removed == 0 {
			return nil, fmt.Errorf("%s: changes %d lines into %d; a sabotage is one line", path, removed, added)
		}
		patches = append(patches, p)
	}
	if len(patches) == 0 {
		return nil, errors.New("no patches")
	}
	return patches, nil
}

// copyTree copies what git knows of, as it is in the work tree.
func copyTree(ctx context.Context, root, dir string) error {
	files, err := output(ctx, root, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(files, "\x00"), "\x00") {
		from, to := filepath.Join(root, name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted and not committed yet
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, info.Mode().Perm()); err != nil {
			return err
		}
	}
	// The reference vectors lie beside the project.
	vectors := filepath.Join(filepath.Dir(root), "shared", "vectors")
	if os.Getenv("CELLOS_TEST_VECTORS") == "" {
		if err := os.Setenv("CELLOS_TEST_VECTORS", vectors); err != nil {
			return err
		}
	}
	return nil
}

// baseline runs every named test on the unbroken tree, one go command per
// package.
func baseline(ctx context.Context, dir string, patches []patch) error {
	tests := map[string][]string{}
	for _, p := range patches {
		if !slices.Contains(tests[p.pkg], p.test) {
			tests[p.pkg] = append(tests[p.pkg], p.test)
		}
	}
	for pkg, names := range tests {
		out, err := test(ctx, dir, pkg, strings.Join(names, "|"))
		if err != nil {
			return fmt.Errorf("%s is red without any sabotage:\n%s", pkg, out)
		}
		for _, name := range names {
			if !strings.Contains(out, "--- PASS: "+name) {
				return fmt.Errorf("%s %s did not run:\n%s", pkg, name, out)
			}
		}
	}
	return nil
}

// try breaks the promise and expects the named test, and not the compiler, to
// fail.
func try(ctx context.Context, dir string, p patch) (err error) {
	if _, err := output(ctx, dir, "git", "apply", p.path); err != nil {
		return fmt.Errorf("does not apply: %w", err)
	}
	defer func() {
		if _, undo := output(ctx, dir, "git", "apply", "-R", p.path); undo != nil {
			err = errors.Join(err, fmt.Errorf("cannot be undone: %w", undo))
		}
	}()
	out, err := test(ctx, dir, p.pkg, p.test)
	switch {
	case err == nil:
		return fmt.Errorf("nobody noticed: %s %s is still green", p.pkg, p.test)
	case !strings.Contains(out, "--- FAIL: "+p.test):
		return fmt.Errorf("%s did not fail by itself:\n%s", p.test, out)
	}
	return nil
}

func test(ctx context.Context, dir, pkg, names string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	return output(ctx, dir, "go", "test", "-v", "-short", "-vet=off", "-count=1", "-run", "^("+names+")$", pkg)
}

// output runs a command in a directory and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// git apply must not take the project around the copy for its own.
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimRight(string(out), "\n"), err
}

package cellinit

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestImports keeps PID 1 early: Go initialises a package after its imports.
func TestImports(t *testing.T) {
	allowed := []string{"syscall", "unsafe"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil || !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s: with it, other packages start before PID 1", name, spec.Path.Value)
			}
		}
	}
}

// TestTakesOverEarly builds a program that links much and counts what is
// initialised before PID 1 has taken over.
func TestTakesOverEarly(t *testing.T) {
	const most = 20
	exe := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-o", exe, "./testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	null, err := os.Open(os.DevNull) // a control socket that has ended
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	run := func(name string) (inits int, all string) {
		cmd := exec.Command(exe)
		cmd.Args[0] = name
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		cmd.ExtraFiles = []*os.File{null}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return strings.Count(string(out), "init "), string(out)
	}
	if n, all := run(Arg0); n > most || strings.Contains(all, "main") {
		t.Errorf("%d packages were initialised before PID 1, want at most %d:\n%s", n, most, all)
	}
	if n, all := run("program"); n <= most || !strings.HasSuffix(all, "main\n") {
		t.Errorf("under its own name the program is not itself (%d inits):\n%s", n, all)
	}
}

// TestLookup is how a name becomes a path.
func TestLookup(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"first", "second", "first/directory"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"first/plain": 0o644, "second/plain": 0o755, "second/program": 0o755,
		"first/both": 0o755, "second/both": 0o755, "second/unusable": 0o644, "second/directory": 0o755,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	search := []string{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
	for _, test := range []struct {
		name  string
		want  string // below dir
		errno syscall.Errno
	}{
		{"program", "second/program", 0},
		{"both", "first/both", 0},
		{"plain", "second/plain", 0},
		{"directory", "second/directory", 0},
		{"unusable", "", syscall.EACCES},
		{"missing", "", syscall.ENOENT},
		{"", "", syscall.ENOENT},
	} {
		got, errno := lookup(test.name, search)
		want := test.want
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got != want || errno != test.errno {
			t.Errorf("lookup(%q) = %q, %v, want %q, %v", test.name, got, errno, want, test.errno)
		}
	}
	if got, errno := lookup("./plain", search); got != "./plain" || errno != 0 {
		t.Errorf("a path became %q, %v", got, errno)
	}
}

package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// pure are the folders that return values and do nothing.
var pure = []string{"cell", "plan", "policy", "event", "schema"}

// forbidden are imports that a pure package has no use for.
var forbidden = map[string]string{
	"os":                    "files, variables and processes belong to the callers",
	"os/exec":               "processes belong to the backends",
	"os/signal":             "signals belong to the supervisor",
	"os/user":               "users of the host are facts that package probe finds",
	"io/ioutil":             "files belong to the callers",
	"path/filepath":         "documents have the paths of a cell, whatever the host; use package path",
	"net":                   "sockets belong to egress; addresses are net/netip",
	"net/http":              "no core package speaks HTTP, and it costs at every start",
	"syscall":               "the host belongs to the backends",
	"golang.org/x/sys/unix": "the host belongs to the backends",
	"log":                   "what is worth saying is returned",
	"log/slog":              "what is worth saying is returned",
	"math/rand":             "the same input gives the same output",
	"math/rand/v2":          "the same input gives the same output",
	"unsafe":                "nothing here needs it",
}

// TestPurePackages: what decides can be tested, printed and compared, because
// it touches nothing.
func TestPurePackages(t *testing.T) {
	for _, folder := range pure {
		for _, file := range sources(t, folder) {
			for _, spec := range file.Imports {
				name := importPath(t, spec)
				if why, bad := forbidden[name]; bad {
					t.Errorf("%s imports %s: %s", folder, name, why)
				}
				if inner, ours := strings.CutPrefix(name, "cellos.io/cellos/"); ours && !isPure(inner) {
					t.Errorf("%s imports %s, which is not pure", folder, name)
				}
			}
		}
	}
}

func isPure(folder string) bool {
	for _, p := range pure {
		if folder == p || strings.HasPrefix(folder, p+"/") {
			return true
		}
	}
	return false
}

// TestCellInitImportsSyscallOnly: PID 1 takes over in its init, and Go runs
// that of a package after those of all its imports. Each one more is paid at
// every start of a cell.
func TestCellInitImportsSyscallOnly(t *testing.T) {
	for _, file := range sources(t, "cellinit") {
		for _, spec := range file.Imports {
			if name := importPath(t, spec); name != "syscall" && name != "unsafe" {
				t.Errorf("cellinit imports %s", name)
			}
		}
	}
}

// TestNoHTTPInTheCore: providers speak HTTP, in a program of their own.
func TestNoHTTPInTheCore(t *testing.T) {
	for _, folder := range folders(t) {
		if folder == "cmd/cellos-providers" || under(folder, "secret") || under(folder, "sink") || under(folder, "export") {
			continue
		}
		for _, file := range sources(t, folder) {
			for _, spec := range file.Imports {
				if importPath(t, spec) == "net/http" {
					t.Errorf("%s imports net/http: only providers do", folder)
				}
			}
		}
	}
}

func under(folder, top string) bool { return folder == top || strings.HasPrefix(folder, top+"/") }

// TestPackageDocs: each folder says once what it gives, promises and leaves to
// others.
func TestPackageDocs(t *testing.T) {
	for _, folder := range folders(t) {
		docs := 0
		files := sources(t, folder)
		for _, file := range files {
			if file.Doc == nil {
				continue
			}
			docs++
			name, text := file.Name.Name, file.Doc.Text()
			if name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
				t.Errorf("%s: the package doc does not start with %q", folder, "Package "+name)
			}
		}
		if len(files) > 0 && docs != 1 {
			t.Errorf("%s has %d package docs, not one", folder, docs)
		}
	}
}

// TestFolderNames: a folder is named for what it provides.
func TestFolderNames(t *testing.T) {
	for _, folder := range folders(t) {
		switch base := filepath.Base(folder); base {
		case "util", "utils", "common", "helper", "helpers", "manager", "base", "misc":
			t.Errorf("%s: %q says nothing about what is inside", folder, base)
		}
	}
}

// folders lists every folder of the module that holds Go files.
func folders(t *testing.T) []string {
	t.Helper()
	seen := map[string]bool{}
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if folder := filepath.Dir(rel); strings.HasSuffix(rel, ".go") && !seen[folder] {
			seen[folder] = true
			list = append(list, filepath.ToSlash(folder))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no Go files found")
	}
	return list
}

// sources parses the files of a folder that are no tests. A folder that does
// not exist has none.
func sources(t *testing.T, folder string) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, folder))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		name := filepath.Join(root, folder, e.Name())
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func importPath(t *testing.T, spec *ast.ImportSpec) string {
	t.Helper()
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

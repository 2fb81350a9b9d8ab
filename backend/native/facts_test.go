package native_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/plan"
)

// leftOut are places that links below /usr lead to and that a cell does not
// see, and why.
var leftOut = map[string]string{
	"/etc/ssl/private":  "keys of the host",
	"/etc/environment":  "the environment of the host's users",
	"/etc/maven":        "settings.xml may hold passwords; what is harmless in it is on the list",
	"/etc/groff":        "manual pages are formatted without",
	"/etc/X11":          "no display is within reach",
	"/var":              "state of the host",
	"/run":              "what runs on the host",
	"/dev":              "every cell has its own",
	"/proc":             "every cell has its own",
	"/sys":              "the host's devices",
	"/opt":              "not a part of the system; --tool mounts what is wanted of it",
	"/etc/alternatives": "links that lead back into /usr",
}

// TestLinksOfTheSystem follows every link below /usr: what programs expect to
// find there is in the view, or left out for a reason.
func TestLinksOfTheSystem(t *testing.T) {
	seen := func(name string) bool {
		for _, pattern := range plan.SystemPaths {
			for dir := name; dir != "/"; dir = path.Dir(dir) {
				if ok, _ := path.Match(pattern, dir); ok {
					return true
				}
			}
		}
		for dir := range leftOut {
			if name == dir || strings.HasPrefix(name, dir+"/") {
				return true
			}
		}
		return false
	}
	missing := map[string]string{}
	err := filepath.WalkDir("/usr", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return nil // what cannot be read is not for a cell either
		}
		text, err := os.Readlink(name)
		if err != nil {
			return nil
		}
		if !path.IsAbs(text) {
			text = path.Join(path.Dir(name), text)
		}
		if _, err := os.Stat(text); err == nil && !seen(path.Clean(text)) {
			missing[path.Clean(text)] = name
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range missing {
		t.Errorf("%s leads to %s, which a cell does not see", from, to)
	}
}

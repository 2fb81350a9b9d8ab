// Package readme follows the README as a reader would: it runs its commands in
// order and holds what they print against what the README says they print.
package readme

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cellos.io/cellos/internal/testenv"
)

const root = "../.."

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// A block is a fenced block of a Markdown file.
type block struct {
	line int    // of the opening fence
	info string // what follows the fence
	text string
}

var fenced = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")

func blocks(markdown string) (out []block) {
	for _, m := range fenced.FindAllStringSubmatchIndex(markdown, -1) {
		out = append(out, block{
			line: 1 + strings.Count(markdown[:m[0]], "\n"),
			info: markdown[m[2]:m[3]],
			text: markdown[m[4]:m[5]],
		})
	}
	return out
}

// separator comes between the output of two blocks.
const separator = "==== end of the block in line %d ====\n"

// TestREADME: "sh" blocks are one shell session in a scratch directory, except
// "sh checkout", which runs in the checkout. A "yaml" block whose first line
// is "# NAME" is a file of that name. A "text" block is what the commands
// before it print: its lines occur in that order, and "…" stands for anything.
func TestREADME(t *testing.T) {
	testenv.Need(t, "userns", "netns", "openssl", "make", "getent")
	markdown, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(string(markdown))
	printed := session(t, all, checkout)
	checked := 0
	for i, b := range all {
		if b.info != "text" {
			continue
		}
		checked++
		if i == 0 || !strings.HasPrefix(all[i-1].info, "sh") {
			t.Errorf("README.md:%d: a text block has to follow the commands that print it", b.line)
			continue
		}
		occurs(t, b, printed[all[i-1].line])
	}
	if checked == 0 {
		t.Error("README.md has no transcript")
	}
}

// session runs the commands and returns what each block printed, by its line.
func session(t *testing.T, all []block, checkout string) map[int]string {
	t.Helper()
	dir := t.TempDir()
	script := "set -eu\n"
	for _, b := range all {
		commands := b.text
		switch b.info {
		case "sh checkout":
			commands = "(cd \"$CHECKOUT\"\n" + commands + ")\n"
		case "sh":
		case "yaml":
			name, ok := strings.CutPrefix(strings.SplitN(b.text, "\n", 2)[0], "# ")
			if !ok {
				t.Fatalf("README.md:%d: the first line does not name the file", b.line)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		case "text":
			continue
		default:
			t.Fatalf("README.md:%d: nobody checks a block %q", b.line, b.info)
		}
		script += commands + fmt.Sprintf("printf '%s'\n", strings.ReplaceAll(fmt.Sprintf(separator, b.line), "\n", `\n`))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(environ(t), "CHECKOUT="+checkout, "PATH="+filepath.Join(checkout, "bin")+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("the commands of the README end with %v, after\n%s", err, &out)
	}

	printed := map[int]string{}
	rest := out.String()
	for _, b := range all {
		if !strings.HasPrefix(b.info, "sh") {
			continue
		}
		before, after, ok := strings.Cut(rest, fmt.Sprintf(separator, b.line))
		if !ok {
			t.Fatalf("README.md:%d: the session did not come to its end\n%s", b.line, rest)
		}
		printed[b.line], rest = before, after
	}
	return printed
}

// environ is the environment of a reader who has set nothing of ours yet, but
// for the places: the trails of others on this machine are not the README's.
func environ(t *testing.T) []string {
	out := []string{"CELLOS_STATE_DIR=" + t.TempDir(), "CELLOS_RUNTIME_DIR=" + t.TempDir()}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "CELLOS_") && !strings.HasPrefix(kv, "CELL_OS_") {
			out = append(out, kv)
		}
	}
	return out
}

// occurs checks that the lines of a transcript are printed, in their order.
func occurs(t *testing.T, want block, got string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	next := 0
	for n, line := range strings.Split(strings.TrimSuffix(want.text, "\n"), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
		i := next
		for i < len(lines) && !pattern.MatchString(lines[i]) {
			i++
		}
		if i == len(lines) {
			t.Errorf("README.md:%d: not printed, or not in this place:\n%s\nbut\n%s", want.line+1+n, line, got)
			return
		}
		next = i + 1
	}
}

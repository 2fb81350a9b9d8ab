package cli

import (
	"bytes"
	"strings"
	"testing"

	"cellos.io/cellos/supervisor"
)

// misuse runs cellos run with a command line that is wrong in itself.
func TestRunMisuse(t *testing.T) {
	for want, args := range map[string][]string{
		"name a document":                         {"run"},
		"cellos run -- make all":                  {"run", "make", "all"},
		`"x" stands in front of --`:               {"run", "x", "--", "sh"},
		"behind --, a program":                    {"run", "--"},
		"--allow describes a cell":                {"run", "--allow", "a:1", "cell.yaml"},
		"--print-spec describes a cell":           {"run", "--print-spec", "cell.yaml"},
		"-o yaml: must be text or json":           {"run", "-o", "yaml", "--", "sh"},
		"-i and a document on standard input":     {"run", "-i", "-"},
		"unknown flag: --alow":                    {"run", "--alow", "a:1", "--", "sh"},
		"flag needs an argument: --secret":        {"run", "--secret"},
		"cellos run --help":                       {"run", "a", "b", "c"},
		"write cellos run -- a b; see cellos run": {"run", "a", "b"},
	} {
		var stderr bytes.Buffer
		env := &Env{Stderr: &stderr, Stdout: &stderr, Getenv: func(string) string { return "" }, Environ: func() []string { return nil }}
		if code := Main(env, args); code != exitUnusable || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit %d, %s; want %q", args, code, stderr.String(), want)
		}
	}
}

// The hint at the end names the flag that would have helped.
func TestAdvice(t *testing.T) {
	who := testCaller(t)
	failed := supervisor.Outcome{Code: 2, Source: supervisor.FromWorkload, Reason: "exited"}
	missing := supervisor.Outcome{Code: 127, Source: supervisor.FromSupervisor, Reason: "not_found"}
	cases := map[string]struct {
		program
		stderr string
		out    supervisor.Outcome
		want   string
	}{
		"read-only directory":     {program{mounts: []string{"."}}, "touch: x: Read-only file system\n", failed, "add --mount .:rw"},
		"and the program went on": {program{mounts: []string{"."}}, "EACCES: permission denied, mkdir\n", supervisor.Outcome{Source: supervisor.FromWorkload}, "add --mount .:rw"},
		"fails for itself":        {program{mounts: []string{"."}}, "no rule to make target\n", failed, ""},
		"writable directory":      {program{mounts: []string{".:rw"}}, "Permission denied\n", failed, ""},
		"writable below":          {program{mounts: []string{".", "src:rw"}}, "Permission denied\n", failed, "add --mount .:rw"},
		"hidden directory":        {program{}, "", failed, "add --mount . to read"},
		"ends well":               {program{}, "Permission denied", supervisor.Outcome{Source: supervisor.FromWorkload}, ""},
		"tool":                    {program{argv: []string{"node"}}, "", missing, "add --tool node"},
		"tool by its path":        {program{argv: []string{"../sdk/1.2/bin/node"}}, "", missing, "/sdk/1.2/bin/node"},
		"script in directory":     {program{argv: []string{"./build.sh"}}, "", missing, "add --mount ."},
		"program in home":         {program{argv: []string{"mine"}}, "", missing, "add --mount " + who.home + "/bin"},
		"interpreter missing":     {program{argv: []string{"./build.sh"}, mounts: []string{"."}}, "", missing, ""},
		"field of a flag":         {program{allow: []string{"a.example:1"}}, "", supervisor.Outcome{Code: 122, Source: supervisor.FromSupervisor, Detail: "no:\nspec.authority.egressRules[0]: no"}, "spec.authority.egressRules[0] is from --allow a.example:1"},
		"below a field of a flag": {program{mounts: []string{"src"}}, "", supervisor.Outcome{Code: 122, Source: supervisor.FromSupervisor, Detail: "no:\n  spec.authority.filesystem.mounts[0].source: no"}, "spec.authority.filesystem.mounts[0].source is from --mount src"},
		"timeout":                 {program{}, "", supervisor.Outcome{Code: 124, Source: supervisor.FromSupervisor}, ""},
	}
	for name, c := range cases {
		if c.argv == nil {
			c.argv = []string{"sh"}
		}
		d, _ := mustDraft(t, who, c.program)
		var shown bytes.Buffer
		a := newAdviser(d, &shown)
		for _, b := range []byte(c.stderr) { // in the smallest pieces
			if _, err := a.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Join(a.advise(c.out), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: advice %q, want %q", name, got, c.want)
		}
		if shown.String() != c.stderr {
			t.Errorf("%s: %q was passed on as %q", name, c.stderr, shown.String())
		}
	}
}

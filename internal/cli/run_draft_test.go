package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/cell"
)

// testCaller has a home, a directory of its own in it, and a tool outside.
func testCaller(t *testing.T) caller {
	t.Helper()
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, "project")
	for _, path := range []string{dir + "/src", home + "/bin", home + "/.local/bin", home + "/sdk/1.2/bin", home + "/sdk/1.2/lib/npm/bin", home + "/venv/bin"} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir + "/build.sh", home + "/bin/mine", home + "/sdk/1.2/bin/node", home + "/sdk/1.2/lib/npm/bin/npm-cli.js", home + "/.local/bin/script", home + "/venv/bin/black"} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"/sdk/1.2/bin/npm":  "../lib/npm/bin/npm-cli.js",
		"/.local/bin/black": "../../venv/bin/black",
		"/bin/dash":         "/bin/sh",
	} {
		if err := os.Symlink(to, home+link); err != nil {
			t.Fatal(err)
		}
	}
	return caller{dir: dir, home: home, term: "xterm",
		path: strings.Join([]string{home + "/bin", home + "/.local/bin", home + "/sdk/1.2/bin", "relative", "/usr/bin", "/bin"}, ":")}
}

func mustDraft(t *testing.T, who caller, p program) (*draft, *cell.Document) {
	t.Helper()
	if p.ttl == "" {
		p.ttl = defaultTTL
	}
	d, err := p.draft(who)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := cell.Parse(draftName, d.text)
	if err != nil {
		t.Fatalf("%s\n%v", d.text, err)
	}
	return d, doc
}

func TestDraft(t *testing.T) {
	who := testCaller(t)
	d, _ := mustDraft(t, who, program{
		argv: []string{"./build.sh", "-j", "4"}, mounts: []string{".", ".:rw", "src"}, tools: []string{"node", "npm"},
		allow:   []string{"*.example.com:443", "[2001:db8::/32]:5432/tcp", "192.0.2.7:53/dns", "*.example.com:443"},
		secrets: []string{"npm-token"}, vars: []string{"A=b=c", "TERM=dumb"}, ttl: "1500ms", memory: "512M", name: "nightly",
	})
	want := `apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: nightly
  environment:
    vars:
      A: "b=c"
      HOME: /home/cell
      LANG: C.UTF-8
      PATH: "HOME/sdk/1.2/bin:/usr/bin:/bin:/usr/local/bin"
      TERM: dumb
      TMPDIR: /tmp
  authority:
    secretRefs:
      - npm-token
    egressRules:
      - host: "*.example.com"
        port: 443
        protocol: tcp
      - host: "2001:db8::/32"
        port: 5432
        protocol: tcp
      - host: "192.0.2.7"
        port: 53
        protocol: dns
    filesystem:
      mounts:
        - source: HOME/project
          target: HOME/project
          readOnly: false
        - source: HOME/project/src
          target: HOME/project/src
          readOnly: true
        - source: HOME/sdk/1.2
          target: HOME/sdk/1.2
          readOnly: true
  lifetime:
    ttlSeconds: 2
  run:
    argv:
      - HOME/project/build.sh
      - "-j"
      - "4"
    workingDirectory: HOME/project
    limits:
      memoryMaxBytes: 536870912
`
	if got := strings.ReplaceAll(string(d.text), who.home, "HOME"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if d.workdir != writable {
		t.Errorf("the working directory is %v", d.workdir)
	}
}

// Without flags a program has nothing but the variables that programs expect.
func TestDraftOfNothing(t *testing.T) {
	d, doc := mustDraft(t, testCaller(t), program{argv: []string{"sh"}})
	spec := doc.Spec
	if a := spec.Authority; len(a.EgressRules)+len(a.SecretRefs) != 0 || a.Filesystem != nil || a.DNSAuthority != nil {
		t.Errorf("authority without flags:\n%s", d.text)
	}
	if spec.ID != "run-sh" || spec.Lifetime.TTLSeconds != 3600 || spec.Run.WorkingDirectory != "" || spec.Run.Limits != nil {
		t.Errorf("got\n%s", d.text)
	}
	if len(spec.Environment.Vars) != 5 || spec.Environment.Vars["PATH"] != "/usr/bin:/bin:/usr/local/bin" {
		t.Errorf("variables are %v", spec.Environment.Vars)
	}
}

// The program is the one that the caller's shell would run, under a path that
// the cell sees.
func TestProgramIsTheCallers(t *testing.T) {
	who := testCaller(t)
	for name, want := range map[string]string{
		"sh":                     "/usr/bin/sh",
		"mine":                   who.home + "/bin/mine",
		"dash":                   "/usr/bin/", // a link of the caller's own, which the cell does not see
		"./build.sh":             who.dir + "/build.sh",
		"../bin/mine":            who.home + "/bin/mine",
		who.dir + "/../bin/mine": who.home + "/bin/mine",
	} {
		_, doc := mustDraft(t, who, program{argv: []string{name}})
		if got := doc.Spec.Run.Argv[0]; got != want && !(strings.HasSuffix(want, "/") && strings.HasPrefix(got, want)) {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"no-such-program", "./nope", "/nope"} {
		_, err := program{argv: []string{name}, ttl: "1s"}.draft(who)
		if _, ok := err.(*missingError); !ok || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTool(t *testing.T) {
	who := testCaller(t)
	for name, want := range map[string]tool{
		"sh":    {bin: "/usr/bin"},
		"node":  {mount: who.home + "/sdk/1.2", bin: who.home + "/sdk/1.2/bin"},
		"npm":   {mount: who.home + "/sdk/1.2", bin: who.home + "/sdk/1.2/bin"},
		"black": {mount: who.home + "/venv", bin: who.home + "/venv/bin"},
	} {
		got, err := who.toolFor(name, systemView)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	// The home of the caller holds more than programs.
	for _, name := range []string{"mine", "script"} {
		_, err := who.toolFor(name, systemView)
		if err == nil || !strings.Contains(err.Error(), "--mount "+who.home) {
			t.Errorf("%s: %v, want another way", name, err)
		}
	}
	if who.mayMount("/") || who.mayMount(filepath.Dir(who.home)) || who.mayMount(who.home) {
		t.Error("a home may be mounted for a tool")
	}
}

// Every wrong flag is named, all at once.
func TestDraftErrors(t *testing.T) {
	who := testCaller(t)
	cases := map[string]program{
		"--allow example.com: write HOST:PORT":               {allow: []string{"example.com"}},
		"--allow 2001:db8::1:443: write HOST:PORT":           {allow: []string{"2001:db8::1:443"}},
		`--allow a.example:https: "https" is no port`:        {allow: []string{"a.example:https"}},
		"--allow a.example:70000: 70000: must be 1 to 65535": {allow: []string{"a.example:70000"}},
		`--allow a.example:1/ftp: "ftp": must be one of`:     {allow: []string{"a.example:1/ftp"}},
		`--allow *.:443: "*.": a wildcard needs a name`:      {allow: []string{"*.:443"}},
		`--secret a b: "a b": may hold`:                      {secrets: []string{"a b"}},
		"--mount nope: no such file or directory":            {mounts: []string{"nope"}},
		"--mount /proc: ": {mounts: []string{"/proc"}},
		"--mount /: ":     {mounts: []string{"/"}},
		`--tool nope: "nope": there is no such program`: {tools: []string{"nope"}},
		"--env SECRET: write NAME=VALUE":                {vars: []string{"SECRET"}},
		`--env: "1A": must be the name`:                 {vars: []string{"1A=x"}},
		"--ttl 10: write a time":                        {ttl: "10"},
		"--ttl 0s: write a time":                        {ttl: "0s"},
		"--memory 1X: write a size":                     {memory: "1X"},
		"--name ..: ":                                   {name: ".."},
		"is also":                                       {secrets: []string{"A"}, vars: []string{"A=s3cr3t"}},
	}
	for want, p := range cases {
		p.argv = []string{"sh"}
		if p.ttl == "" {
			p.ttl = "1s"
		}
		_, err := p.draft(who)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	_, err := program{argv: []string{"sh"}, allow: []string{"a"}, ttl: "x", memory: "y"}.draft(who)
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three errors are shown as: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "7b": 7, "2k": 2 << 10, "512M": 512 << 20, "512MB": 512 << 20, "512MiB": 512 << 20, "1g": 1 << 30, "3T": 3 << 40,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "M", "1.5G", "1 G", "1BB", "1IB", "1iB", "9223372036854775808", "8388608T", "99999999999999999999"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}

// What is printed is read as the same document: each of the corpus, and texts
// that mean something else in YAML.
func TestFormatYAML(t *testing.T) {
	paths, err := filepath.Glob("../../cell/testdata/corpus/valid/*")
	if err != nil || len(paths) == 0 {
		t.Fatal("no documents", err)
	}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := cell.Parse(path, src)
		if err != nil {
			t.Fatal(err)
		}
		sameAsYAML(t, doc)
	}
	doc := &cell.Document{APIVersion: cell.APIVersion, Kind: cell.Kind, Spec: cell.Spec{ID: "a", Lifetime: cell.Lifetime{TTLSeconds: 1}, Run: &cell.Run{}}}
	doc.Spec.Run.Argv = []string{"sh", "", " ", "-", "- a", "a: b", "a #b", "#", "no", "Null", "~", "1", "0x1", "1e3", ".5", "2001-01-01", "12:30:45", "a\nb", "\t", "\x00"[:0], "\x1b[31m", "\x7f", "\u0085", "\u2028", "\ufeffx", "ü😀", `"'\`, "*a", "&a", "!a", "%a", "@a", "`a", "{a", "[a", ">", "|", "?", "a,b", "=", "<<", "---", "..."}
	sameAsYAML(t, doc)
}

func sameAsYAML(t *testing.T, doc *cell.Document) {
	t.Helper()
	// A document of memory alone, as drafts are.
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var built cell.Document
	if err := json.Unmarshal(text, &built); err != nil {
		t.Fatal(err)
	}
	yaml := formatYAML(&built)
	got, err := cell.Parse("x.yaml", yaml)
	if err != nil {
		t.Errorf("%v\n%s", err, yaml)
		return
	}
	if got.SpecHash() != built.SpecHash() {
		t.Errorf("another document:\n%s\nwant %s\ngot  %s", yaml, built.Canonical(), got.Canonical())
	}
}

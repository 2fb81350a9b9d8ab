package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/probe"
)

// goodHost has a backend that says it enforces everything.
func goodHost() plan.Host {
	report := plan.Report{}
	for _, control := range plan.Controls {
		report[control] = plan.Control{State: plan.Enforced, By: "a mechanism"}
	}
	return plan.Host{Backend: "native", Isolation: report, Namespaces: plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true, UTS: true, User: true}}
}

// answersOf are some abilities, all of which work but those that are given.
func answersOf(not ...probe.Result) ([]probe.Ability, []probe.Result) {
	abilities := []probe.Ability{
		{Name: "seccomp", Means: "a filter", Controls: []string{"seccomp"}},
		{Name: "landlock", Means: "a second layer", Controls: []string{"landlock"}},
		{Name: "cgroup-memory", Means: "limits", Controls: []string{"cgroupMemory"}},
		{Name: "cgroup-cpu", Means: "limits", Controls: []string{"cgroupCpu"}},
		{Name: "state-dir", Means: "a place"},
		{Name: "kvm", Means: "speed"},
	}
	results := make([]probe.Result, len(abilities))
	for i, a := range abilities {
		results[i] = probe.Result{Name: a.Name, Answer: probe.Works}
		for _, r := range not {
			if r.Name == a.Name {
				results[i] = r
			}
		}
	}
	return abilities, results
}

// narrow makes the columns of a table one space apart.
func narrow(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

func answer(name string, a probe.Answer, detail, remedy string) probe.Result {
	return probe.Result{Name: name, Answer: a, Detail: detail, Remedy: remedy}
}

func TestDiagnose(t *testing.T) {
	unbuilt := errors.Join(&compose.UnbuiltError{Setting: "CELLOS_CELL_BACKEND", Missing: "backend gvisor"})
	testDouble := goodHost()
	testDouble.TestDouble = true
	for _, test := range []struct {
		name     string
		host     plan.Host
		settings error
		not      []probe.Result
		hardened bool
		missing  string // a part of the last line
		says     []string
	}{
		{name: "all works", hardened: true, missing: "hardened cells can run here"},
		{name: "what hardened does not need", hardened: true, missing: "hardened cells can run here",
			not:  []probe.Result{answer("landlock", probe.Unsupported, "not built", "build it"), answer("kvm", probe.Unknown, "hangs", ""), answer("cgroup-cpu", probe.Unsupported, "v1", "run as root"), answer("cgroup-memory", probe.Unsupported, "v1", "run as root")},
			says: []string{"kvm unknown", "landlock no", "cgroup-memory, cgroup-cpu: v1\n  run as root\n", "landlock: not built\n  build it\n", "landlock unavailable landlock does not work here: not built"}},
		{name: "what it needs", missing: "does not enforce seccomp; seccomp: refused (allow it)",
			not:  []probe.Result{answer("landlock", probe.Unsupported, "x", "y"), answer("seccomp", probe.Unsupported, "refused", "allow it")},
			says: []string{"seccomp: refused\n  allow it\n", "seccomp unavailable seccomp does not work here: refused"}},
		{name: "what it needs, perhaps", missing: "does not enforce seccomp",
			not:  []probe.Result{answer("seccomp", probe.Unknown, "no answer within 1s", "")},
			says: []string{"seccomp unknown seccomp could not be tried: no answer within 1s"}},
		{name: "no place for the trail", missing: "state-dir: read-only (set CELLOS_STATE_DIR)",
			not: []probe.Result{answer("state-dir", probe.Unsupported, "read-only", "set CELLOS_STATE_DIR")}},
		{name: "a backend that is not built", settings: unbuilt, missing: "settings: CELLOS_CELL_BACKEND: this build does not have backend gvisor",
			says: []string{"seccomp unavailable CELLOS_CELL_BACKEND: this build does not have backend gvisor"}},
		{name: "settings that are wrong", settings: errors.Join(errors.New("CELLOS_DNS_PROXY=\"x\": must be 1 or 0")), missing: "CELLOS_DNS_PROXY",
			says: []string{"seccomp enforced a mechanism"}},
		{name: "test double", host: testDouble, missing: "test double"},
		{name: "control bytes", missing: `state-dir: \x1b[2J`, not: []probe.Result{answer("state-dir", probe.Unsupported, "\x1b[2J", "")}},
	} {
		host := test.host
		if host.Backend == "" {
			host = goodHost()
		}
		abilities, results := answersOf(test.not...)
		d := diagnose(host, test.settings, abilities, results)
		var text bytes.Buffer
		if err := d.write(&text); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
		if last := lines[len(lines)-1]; d.Hardened != test.hardened || !strings.Contains(last, test.missing) {
			t.Errorf("%s: hardened %v, %q", test.name, d.Hardened, last)
		}
		for _, s := range test.says {
			if !strings.Contains(narrow(text.String()), narrow(s)) {
				t.Errorf("%s: does not say %q:\n%s", test.name, s, text.String())
			}
		}
		if strings.Contains(text.String(), "\x1b") {
			t.Errorf("%s: a control byte is printed", test.name)
		}
	}
}

// TestDoctorOnThisHost: both outputs and the exit code say the same.
func TestDoctorOnThisHost(t *testing.T) {
	dir := t.TempDir()
	environ := append(os.Environ(), "CELLOS_STATE_DIR="+dir, "CELLOS_RUNTIME_DIR="+dir)
	doctor := func(args ...string) (string, int) {
		var out bytes.Buffer
		env := &Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: os.Stderr, Environ: func() []string { return environ },
			Getenv: func(name string) string {
				if name == "CELLOS_STATE_DIR" || name == "CELLOS_RUNTIME_DIR" {
					return dir
				}
				return ""
			}}
		root := New(env)
		root.SetArgs(append([]string{"doctor", "--timeout", "1m"}, args...))
		var exit *ExitError
		if err := root.ExecuteContext(t.Context()); errors.As(err, &exit) {
			return out.String(), exit.Code
		} else if err != nil {
			t.Fatal(err)
		}
		return out.String(), 0
	}
	text, textCode := doctor()
	encoded, jsonCode := doctor("-o", "json")
	var d diagnosis
	if err := json.Unmarshal([]byte(encoded), &d); err != nil {
		t.Fatal(err)
	}
	if textCode != jsonCode || (jsonCode == 0) != d.Hardened || d.Hardened != (len(d.Missing) == 0) || !strings.HasSuffix(text, d.verdict()+"\n") {
		t.Errorf("exit %d and %d, hardened %v:\n%s", textCode, jsonCode, d.Hardened, text)
	}
	for _, control := range plan.Controls {
		if d.Isolation[control].State == "" {
			t.Errorf("nothing is said about %s", control)
		}
	}
	if len(d.Abilities) == 0 || d.UID != os.Geteuid() {
		t.Errorf("%+v", d)
	}
	if _, code := doctor("-o", "xml"); code != exitUnusable {
		t.Errorf("-o xml: exit %d", code)
	}
}

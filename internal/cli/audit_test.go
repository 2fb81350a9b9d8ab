package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/event"
	"cellos.io/cellos/journal"
)

// A terminal runs commands and remembers what they said.
type terminal struct {
	t     *testing.T
	state string
	stdin string
	out   string
	err   string
}

// cellos runs a command, and checks its exit code.
func (tm *terminal) cellos(code int, args ...string) {
	tm.t.Helper()
	var stdout, stderr bytes.Buffer
	root := New(&Env{
		Stdin: strings.NewReader(tm.stdin), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string {
			if name == "CELLOS_STATE_DIR" {
				return tm.state
			}
			return ""
		},
	})
	root.SetArgs(args)
	err := root.Execute()
	got := 0
	var exit *ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.Code
		if exit.Err != nil {
			stderr.WriteString(exit.Err.Error() + "\n")
		}
	case err != nil:
		got = -1
		stderr.WriteString(err.Error() + "\n")
	}
	tm.out, tm.err = stdout.String(), stderr.String()
	if got != code {
		tm.t.Errorf("cellos %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, tm.out, tm.err)
	}
}

func (tm *terminal) says(where string, words ...string) {
	tm.t.Helper()
	for _, w := range words {
		if !strings.Contains(where, w) {
			tm.t.Errorf("%q is not in:\n%s", w, where)
		}
	}
}

// newTerminal is on a host on which two runs have ended.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	tm := &terminal{t: t, state: t.TempDir()}
	for _, id := range []string{"run-a", "run-b"} {
		tm.run(id, true)
	}
	return tm
}

func (tm *terminal) run(id string, end bool) {
	tm.t.Helper()
	check := func(err error) {
		tm.t.Helper()
		if err != nil {
			tm.t.Fatal(err)
		}
	}
	signer, err := journal.LoadSigner(func(string) string { return "" }, tm.state)
	check(err)
	j, err := journal.Open(journal.Options{Dir: tm.state, Host: "h", Instance: "1", Signer: signer, Sync: journal.SyncOff})
	check(err)
	defer j.Close()
	r, err := j.OpenRun(journal.RunSpec{Scope: event.Scope{SpecID: "spec", CellID: "cell", RunID: id}})
	check(err)
	defer r.Close()
	emit := func(d event.Data) {
		tm.t.Helper()
		_, err := r.Emit(d)
		check(err)
	}
	emit(event.AdmissionDecided{Verdict: event.VerdictAllowed})
	emit(event.ProcessSpawned{Program: "/bin/\x1b[31mtrue\u202e", Argc: 1, PID: 7})
	emit(event.DNSQuery{QueryName: "evil.example.com", QueryType: "A", Decision: event.Deny, ReasonCode: "denied_not_in_allowlist", ResponseRcode: 5, Transport: "udp"})
	if !end {
		return
	}
	emit(event.LifecycleDestroyed{Outcome: event.OutcomeSucceeded})
	c := r.Contents()
	emit(event.EvidenceBundle{ChainID: id, LastSeq: c.LastSeq, HeadDigest: c.Head, Counts: c.Counts})
	check(r.Seal())
}

func (tm *terminal) path(id string) string {
	return filepath.Join(journal.Dir(tm.state), "runs", id+".jsonl")
}

func (tm *terminal) host() string { return journal.HostPath(tm.state) }

// edit changes the lines of a file.
func (tm *terminal) edit(path string, change func([]string) []string) {
	tm.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tm.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	out := strings.Join(change(lines[:len(lines)-1]), "")
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		tm.t.Fatal(err)
	}
}

func TestAuditVerify(t *testing.T) {
	tm := newTerminal(t)
	tm.cellos(0, "audit", "verify")
	tm.says(tm.out, "14 records of 2 runs", "host chain host-", "self-attested", "complete")

	tm.cellos(0, "audit", "verify", "-o", "json")
	var report struct {
		Code         int
		Result       string
		SelfAttested bool
		Records      int
		Runs         []struct{ Chain string }
		Faults       []any
	}
	if err := json.Unmarshal([]byte(tm.out), &report); err != nil || report.Records != 14 || len(report.Runs) != 2 || !report.SelfAttested || report.Result != "complete" {
		t.Errorf("%v: %s", err, tm.out)
	}

	tm.run("run-c", false)
	tm.cellos(2, "audit", "verify")
	tm.says(tm.out, "unfinished: run-c", "1 run is unfinished")
}

func TestAuditVerifyElsewhere(t *testing.T) {
	tm := newTerminal(t)
	keys := filepath.Join(t.TempDir(), "keys.json")
	tm.cellos(0, "keys", "public")
	if err := os.WriteFile(keys, []byte(tm.out), 0o600); err != nil {
		t.Fatal(err)
	}
	tm.cellos(0, "audit", "head")
	head := strings.TrimSpace(tm.out)
	a, b, host := tm.path("run-a"), tm.path("run-b"), tm.host()

	// An auditor has the files and the keys, not the state directory.
	auditor := &terminal{t: t, state: t.TempDir()}
	auditor.cellos(0, "audit", "verify", a, b, "--keys", keys)
	auditor.says(auditor.out, "without --host-chain a missing run would not show")
	auditor.cellos(0, "audit", "verify", a, b, "--keys", keys, "--host-chain", host, "--head", head)
	if strings.Contains(auditor.out, "self-attested") {
		t.Error(auditor.out)
	}
	text, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	auditor.stdin = string(text)
	auditor.cellos(0, "audit", "verify", "-", "--keys", keys)
	auditor.cellos(0, "audit", "show", "-")
	auditor.cellos(1, "audit", "verify", a, "--keys", keys, "--host-chain", host)
	auditor.says(auditor.err, host+":3: run \"run-b\"", "missing run")

	tm.edit(host, func(l []string) []string { return l[:2] })
	auditor.cellos(0, "audit", "verify", a, "--keys", keys, "--host-chain", host)
	auditor.cellos(1, "audit", "verify", a, "--keys", keys, "--host-chain", host, "--head", head)
	auditor.says(auditor.err, "head: the host chain ends at 1", head)
}

func TestAuditVerifyFindsTheLine(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(tm *terminal)
		want   []string
	}{
		"flipped byte": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { l[2] = strings.Replace(l[2], "evil", "good", 1); return l })
		}, []string{"run-a.jsonl:3:", "signature"}},
		"dropped": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { return append(l[:1], l[2:]...) })
		}, []string{"run-a.jsonl:2:", "gap"}},
		"swapped": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { l[3], l[4] = l[4], l[3]; return l })
		}, []string{"run-a.jsonl:4:", "gap"}},
		"replayed": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { return append(l[:2:2], append([]string{l[0]}, l[2:]...)...) })
		}, []string{"run-a.jsonl:3:", "replayed"}},
		"truncated": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { l[4] = l[4][:100]; return l })
		}, []string{"run-a.jsonl:5:", "truncated"}},
		"cut": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string { return l[:4] })
		}, []string{"run-a.jsonl:", "cut", "sealed at 4"}},
		"missing run":        {func(tm *terminal) { os.Remove(tm.path("run-a")) }, []string{"host.jsonl:1:", "missing run"}},
		"missing host chain": {func(tm *terminal) { os.Remove(tm.host()) }, []string{"unopened run"}},
		"host chain cut": {func(tm *terminal) {
			tm.edit(tm.host(), func(l []string) []string { return l[:2] })
		}, []string{"run-b", "unopened run"}},
		"run under another name": {func(tm *terminal) {
			tm.edit(tm.path("run-a"), func(l []string) []string {
				for i := range l {
					l[i] = strings.ReplaceAll(l[i], "run-a", "run-x")
				}
				return l
			})
		}, []string{"run-a.jsonl:1:", "signature"}},
	} {
		t.Run(name, func(t *testing.T) {
			tm := newTerminal(t)
			test.damage(tm)
			tm.cellos(1, "audit", "verify")
			first, _, _ := strings.Cut(tm.err, "\n")
			tm.says(first, test.want...)
			tm.says(tm.err, "tampered")
			tm.cellos(1, "audit", "verify", "-o", "json")
			tm.says(tm.out, `"code": 1`, `"class"`)
		})
	}
}

func TestAuditVerifyUnusable(t *testing.T) {
	tm := newTerminal(t)
	empty := &terminal{t: t, state: t.TempDir()}
	hmac := filepath.Join(t.TempDir(), "hmac.json")
	if err := os.WriteFile(hmac, []byte(`{"k":{"alg":"hmac-sha256","key":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	empty.cellos(125, "audit", "verify")
	empty.says(empty.err, "--keys")
	empty.cellos(125, "audit", "head")
	empty.cellos(125, "audit", "show")
	empty.cellos(125, "keys", "list")
	empty.cellos(125, "keys", "public")
	tm.cellos(125, "audit", "verify", "/does/not/exist")
	tm.cellos(125, "audit", "verify", "--keys", "/does/not/exist")
	tm.cellos(125, "audit", "verify", "--host-chain", "/does/not/exist")
	tm.cellos(125, "audit", "verify", "--head", "x")
	tm.cellos(125, "audit", "verify", "-o", "yaml")
	tm.cellos(125, "audit", "verify", "--keys", hmac)
	tm.says(tm.err, "--hmac-keys")
	tm.cellos(0, "audit", "verify", "--hmac-keys", hmac)
	none := filepath.Join(t.TempDir(), "none.jsonl")
	if err := os.WriteFile(none, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tm.cellos(2, "audit", "verify", none)
	tm.says(tm.out, "no record")
}

func TestAuditShow(t *testing.T) {
	tm := newTerminal(t)
	tm.cellos(0, "audit", "show")
	tm.says(tm.out, "host.v1.run_opened", "a/2  observability.v1.dns_query  answers=[] count=0 decision=deny", "queryName=evil.example.com")
	for _, r := range tm.out {
		if r != '\n' && (r < ' ' || r == 0x7f || r == 0x202e) {
			t.Fatalf("a control character reached the terminal: %q", r)
		}
	}
	tm.says(tm.out, `program="/bin/\x1b[31mtrue\u202e"`)

	for args, lines := range map[string]int{
		"--type dns_query": 2, "--type lifecycle": 2, "--type host": 4, "--type dns_query --type lifecycle": 4,
		"--run run-a": 7, "--run run-a --type dns_query": 1, "--type nothing": 0,
	} {
		tm.cellos(0, append([]string{"audit", "show"}, strings.Fields(args)...)...)
		if got := strings.Count(tm.out, "\n"); got != lines {
			t.Errorf("%s: %d lines, want %d\n%s", args, got, lines, tm.out)
		}
	}
	tm.cellos(0, "audit", "show", "-o", "json", "--type", "dns_query", tm.path("run-a"))
	var line struct {
		Chain string
		Seq   int
		Data  struct{ QueryName string }
	}
	if err := json.Unmarshal([]byte(tm.out), &line); err != nil || line.Data.QueryName != "evil.example.com" || line.Seq != 2 || line.Chain != "run-a" {
		t.Errorf("%v: %s", err, tm.out)
	}
	tm.edit(tm.path("run-a"), func(l []string) []string { l[1] = "\x1b[2J\n"; return l })
	tm.cellos(1, "audit", "show", tm.path("run-a"))
	tm.says(tm.err, "run-a.jsonl:2:", "1 line could not be read")
	if strings.Contains(tm.err, "\x1b") || strings.Count(tm.out, "\n") != 4 {
		t.Errorf("%q\n%s", tm.err, tm.out)
	}
	tm.cellos(125, "audit", "show", "-o", "yaml")
	tm.cellos(125, "audit", "show", "/does/not/exist")
}

func TestKeys(t *testing.T) {
	tm := newTerminal(t)
	tm.cellos(0, "keys", "list")
	tm.says(tm.out, "KID", "ed25519", "yes")
	kid := strings.Fields(strings.Split(tm.out, "\n")[1])[0]
	tm.cellos(0, "keys", "public")
	all := tm.out
	if keys, err := event.ParseKeys([]byte(all)); err != nil || keys.KIDs()[0] != kid {
		t.Errorf("%v: %s", err, all)
	}
	tm.cellos(0, "keys", "public", kid)
	if tm.out != all {
		t.Errorf("%s\n%s", tm.out, all)
	}
	tm.cellos(125, "keys", "public", "other")
	tm.says(tm.err, "cellos keys list")
}

func TestHelpIsShown(t *testing.T) {
	tm := &terminal{t: t, state: t.TempDir()}
	for _, args := range [][]string{{"audit"}, {"keys"}, {"audit", "verify", "--help"}, {"audit", "show", "--help"}, {"audit", "head", "--help"}} {
		tm.cellos(0, args...)
		tm.says(tm.out, "Usage:")
	}
	tm.cellos(0, "audit", "verify", "--help")
	tm.says(tm.out, "Exit codes:", "Examples:")
}

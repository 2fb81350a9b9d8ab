package console

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"testing"
)

func TestEscape(t *testing.T) {
	tests := map[string]string{
		"plain":                "plain",
		"\x1b[2Jgone":          `\x1b[2Jgone`,
		"bell\a":               `bell\a`,
		"a\u202eb":             `a\u202eb`,
		"bad\xffutf8":          `bad` + "\ufffd" + `utf8`,
		"two\nlines":           "two\n  lines",
		"carriage\rreturn":     `carriage\rreturn`,
		"ünïcödé stays itself": "ünïcödé stays itself",
	}
	for in, want := range tests {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	var buf bytes.Buffer
	c := New(&buf, Options{Program: "cellos"})
	c.Step("network", "network ready")
	c.Denied(Denial{What: "evil.example A refused", Rule: `add "evil.example"`, Flag: "add --allow"})
	c.Denied(Denial{What: "evil.example AAAA refused", Rule: `add "evil.example"`, Flag: "add --allow"})
	want := "cellos: network ready\ncellos: evil.example A refused; to allow it, add \"evil.example\"\n"
	if buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
}

func TestQuietKeepsWhatMatters(t *testing.T) {
	var buf bytes.Buffer
	c := New(&buf, Options{Program: "cellos", Quiet: true})
	c.Step("network", "network ready")
	c.Done(Ending{Message: "done", OK: true})
	if buf.Len() != 0 {
		t.Errorf("quiet wrote %q", buf.String())
	}
	c.Warn("careful")
	c.Error("broken")
	if want := "cellos: careful\ncellos: broken\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
}

// A person without a document is told which flag to add, where there is one.
func TestFlagsInsteadOfRules(t *testing.T) {
	var buf bytes.Buffer
	c := New(&buf, Options{Program: "cellos", Flags: true})
	c.Denied(Denial{What: "x", Rule: "add a rule", Flag: "add --allow x:443"})
	c.Denied(Denial{What: "y", Rule: "add a type"})
	c.Denied(Denial{What: "z"})
	if want := "cellos: x; to allow it, add --allow x:443\ncellos: y; to allow it, add a type\ncellos: z\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
}

// A workload that is refused something else all the time costs no more memory
// than one that is not.
func TestDenialsAreBounded(t *testing.T) {
	c := New(io.Discard, Options{})
	for i := range 3 * maxDenials {
		c.Denied(Denial{What: strconv.Itoa(i)})
	}
	if len(c.denied) != maxDenials {
		t.Errorf("%d denials are remembered, want %d", len(c.denied), maxDenials)
	}
}

type twoLines struct{ N int }

func (twoLines) Lines() []string { return []string{"one", "two\x1b"} }

func TestSummary(t *testing.T) {
	var buf bytes.Buffer
	New(&buf, Options{Program: "cellos"}).Done(Ending{Message: "done", OK: true, Summary: twoLines{}, Hints: []string{"try"}})
	if want := "cellos: one\ncellos: two\\x1b\ncellos: done\ncellos: hint: try\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
	buf.Reset()
	New(&buf, Options{Format: JSON}).Done(Ending{Message: "done", OK: true, Summary: twoLines{7}, Hints: []string{"try"}})
	var l struct {
		Kind    string
		Summary twoLines
		Hints   []string
	}
	if err := json.Unmarshal(buf.Bytes(), &l); err != nil || l.Kind != "done" || l.Summary.N != 7 || len(l.Hints) != 1 {
		t.Errorf("%s: %v", buf.String(), err)
	}
}

func TestColorsAreResetOnTheSameLine(t *testing.T) {
	var buf bytes.Buffer
	New(&buf, Options{Program: "cellos", Color: true}).Warn("careful")
	if want := "cellos: \x1b[33mcareful\x1b[0m\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
}

func TestJSONIsOneObjectPerLine(t *testing.T) {
	var buf bytes.Buffer
	c := New(&buf, Options{Format: JSON})
	c.Step("run", "a\nb\x1b")
	c.Denied(Denial{What: "x", Rule: "y"})
	dec := json.NewDecoder(&buf)
	for _, want := range []string{"step", "denied"} {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		if l.Kind != want || l.Level == "" || l.Time.IsZero() {
			t.Errorf("got %+v, want kind %s", l, want)
		}
	}
}

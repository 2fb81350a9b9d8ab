package console

import (
	"bytes"
	"encoding/json"
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
	c.Denied("evil.example A refused", `add "evil.example"`)
	want := "cellos: network ready\ncellos: evil.example A refused; to allow it, add \"evil.example\"\n"
	if buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
	}
}

func TestQuietKeepsWhatMatters(t *testing.T) {
	var buf bytes.Buffer
	c := New(&buf, Options{Program: "cellos", Quiet: true})
	c.Step("network", "network ready")
	c.Done("done", true, nil)
	if buf.Len() != 0 {
		t.Errorf("quiet wrote %q", buf.String())
	}
	c.Warn("careful")
	c.Error("broken")
	if want := "cellos: careful\ncellos: broken\n"; buf.String() != want {
		t.Errorf("got %q, want %q", buf.String(), want)
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
	c.Denied("x", "y")
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

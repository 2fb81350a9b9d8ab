// Package console is what a person, or a log collector, sees of a run on
// standard error.
//
// The rules of its output: one line per step, per denial and per warning; the
// last line says how the run ended and why; hints what to do follow it. Colours only on a
// terminal and never with NO_COLOR. Control bytes in anything that came from a
// cell or a document are escaped. With JSON every line is one object. Quiet
// keeps warnings and failures.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Format is how lines are written.
type Format int

// The formats.
const (
	Text Format = iota
	JSON
)

// Options of a Console.
type Options struct {
	Program string // the name in front of each line
	Format  Format
	Quiet   bool
	Color   bool
	// Flags is true if what would allow a denial is a flag of cellos run: the
	// person has no document.
	Flags bool
}

// maxDenials bounds how many denials are told apart.
const maxDenials = 1000

// A Denial is what the workload was refused, and what would allow it. Both
// remedies are empty if nothing would.
type Denial struct {
	What string
	Rule string // to do in the document
	Flag string // of cellos run; empty if it has none for this
}

// A Summary is what a run came to. It is encoded as JSON.
type Summary interface {
	Lines() []string // for a person
}

// Console writes lines. Its methods may be called concurrently.
type Console struct {
	opts Options

	mu     sync.Mutex
	w      io.Writer
	denied map[string]bool // the remedies that were shown
}

// New returns a console that writes to w.
func New(w io.Writer, opts Options) *Console { return &Console{opts: opts, w: w} }

// WantsColor is whether a file is a terminal that should get colours.
func WantsColor(f *os.File, getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

type line struct {
	Time    time.Time         `json:"time"`
	Level   string            `json:"level"`
	Kind    string            `json:"kind"`
	Message string            `json:"message"`
	Attrs   map[string]string `json:"attrs,omitempty"`
	Summary Summary           `json:"summary,omitempty"`
	Hints   []string          `json:"hints,omitempty"`
}

// SGR sequences (ECMA-48 8.3.117) per level.
var colors = map[string]string{"info": "\x1b[2m", "warn": "\x1b[33m", "error": "\x1b[31m"}

func (c *Console) write(level, kind, message string, attrs map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.print(line{Level: level, Kind: kind, Message: message, Attrs: attrs})
}

// print writes one line. The caller holds the lock.
func (c *Console) print(l line) {
	if c.opts.Quiet && l.Level == "info" {
		return
	}
	if c.opts.Format == JSON {
		l.Time = time.Now()
		b, err := json.Marshal(l)
		if err != nil {
			return
		}
		// Nobody is left to tell if standard error is gone.
		_, _ = c.w.Write(append(b, '\n'))
		return
	}
	text := Escape(l.Message)
	if c.opts.Color {
		text = colors[l.Level] + text + "\x1b[0m"
	}
	if l.Kind != "finding" {
		text = c.opts.Program + ": " + text
	}
	_, _ = fmt.Fprintln(c.w, text)
}

// Step says that the run has come this far.
func (c *Console) Step(step, message string) {
	c.write("info", "step", message, map[string]string{"step": step})
}

// Denied says what the workload was refused, and what would allow it: once
// for each remedy, since a program asks for the same thing in many ways.
func (c *Console) Denied(d Denial) {
	remedy := d.Rule
	if c.opts.Flags && d.Flag != "" {
		remedy = d.Flag
	}
	message, key := d.What, d.What
	if remedy != "" {
		message, key = message+"; to allow it, "+remedy, remedy
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.denied[key] || len(c.denied) == maxDenials {
		return
	}
	if c.denied == nil {
		c.denied = make(map[string]bool)
	}
	c.denied[key] = true
	c.print(line{Level: "warn", Kind: "denied", Message: message, Attrs: map[string]string{"rule": d.Rule, "flag": d.Flag}})
}

// Warn says what is not as it was asked for.
func (c *Console) Warn(message string) { c.write("warn", "warning", message, nil) }

// Error says what failed.
func (c *Console) Error(message string) { c.write("error", "error", message, nil) }

// Finding is one fault of a document. It begins with its place, as compilers
// print it, so that editors can jump there.
func (c *Console) Finding(text string) { c.write("error", "finding", text, nil) }

// An Ending is how a run ended.
type Ending struct {
	Message string
	OK      bool
	Attrs   map[string]string
	Summary Summary  // nil if there is nothing to sum up
	Hints   []string // what to do about it
}

// Done says how it ended: what it came to, which code and why, what to do. In
// JSON that is one object, the last.
func (c *Console) Done(e Ending) {
	level := "info"
	if !e.OK {
		level = "error"
	}
	done := line{Level: level, Kind: "done", Message: e.Message, Attrs: e.Attrs, Summary: e.Summary, Hints: e.Hints}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.Format == JSON {
		c.print(done)
		return
	}
	if e.Summary != nil {
		for _, text := range e.Summary.Lines() {
			c.print(line{Level: "info", Kind: "summary", Message: text})
		}
	}
	c.print(done)
	for _, hint := range e.Hints {
		c.print(line{Level: "warn", Kind: "hint", Message: "hint: " + hint})
	}
}

// Escape makes text from a cell safe to print: control characters, invalid
// UTF-8 and the bidirectional controls that can make a line read differently
// from what it says are written as Go escapes. Line ends stay, indented.
func Escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("\n  ")
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

package cli

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"cellos.io/cellos/supervisor"
)

// complaints are how programs say EROFS and EACCES, by name or by the words of
// the C library.
var complaints = [][]byte{
	[]byte("Read-only file system"), []byte("read-only file system"), []byte("EROFS"),
	[]byte("Permission denied"), []byte("permission denied"), []byte("EACCES"),
}

// longestComplaint is how much of what was written is kept to find one that
// comes in two pieces.
const longestComplaint = 32

// adviser passes on what a program says on standard error, and knows at the
// end which flag would have helped.
type adviser struct {
	draft *draft
	w     io.Writer

	tail []byte
	// complained is read when the copying may still be stuck at our reader.
	complained atomic.Bool
}

func newAdviser(d *draft, w io.Writer) *adviser { return &adviser{draft: d, w: w} }

// Write implements io.Writer.
func (a *adviser) Write(p []byte) (int, error) {
	if !a.complained.Load() && a.draft.workdir != writable {
		a.look(p)
	}
	return a.w.Write(p)
}

func (a *adviser) look(p []byte) {
	a.tail = append(a.tail, p[:min(len(p), longestComplaint)]...)
	for _, c := range complaints {
		if bytes.Contains(p, c) || bytes.Contains(a.tail, c) {
			a.complained.Store(true)
			return
		}
	}
	if len(p) > longestComplaint {
		a.tail = append(a.tail[:0], p[len(p)-longestComplaint:]...)
	} else if more := len(a.tail) - longestComplaint; more > 0 {
		a.tail = append(a.tail[:0], a.tail[more:]...)
	}
}

// advise says which flag helps against how a run ended.
func (a *adviser) advise(out supervisor.Outcome) []string {
	d := a.draft
	switch {
	case out.Code == supervisor.ExitNotFound && out.Source == supervisor.FromSupervisor && !d.view.has(d.exe.real):
		return []string{d.showProgram()}
	case out.Code == supervisor.ExitCannot && out.Source == supervisor.FromSupervisor:
		return d.explainPaths(out.Detail)
	case out.Source != supervisor.FromWorkload:
		return nil
	case a.complained.Load() && d.workdir == readable:
		return []string{fmt.Sprintf("the cell may only read %s; if the program has to write there, add --mount .:rw", d.who.dir)}
	case d.workdir == hidden && !out.Succeeded():
		return []string{fmt.Sprintf("the cell does not see %s; if the program needs it, add --mount . to read or --mount .:rw to write as well", d.who.dir)}
	}
	return nil
}

// explainPaths says which flags the fields stand for that the lines of a text
// begin with.
func (d *draft) explainPaths(text string) []string {
	var hints []string
	for line := range strings.Lines(text) {
		path, _, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if flag := d.origin.flagOf(path); ok && flag != "" {
			hints = append(hints, path+" is from "+flag)
		}
	}
	return slices.Compact(hints)
}

// showProgram is how to make the program itself visible.
func (d *draft) showProgram() string {
	if within(d.exe.real, d.who.dir) {
		return fmt.Sprintf("the cell does not see %s; add --mount .", d.exe.path)
	}
	if t, err := d.who.toolFor(d.name, d.view); err != nil || t.mount == "" {
		return fmt.Sprintf("the cell does not see %s; add --mount %s", d.exe.real, filepath.Dir(d.exe.real))
	}
	if strings.Contains(d.name, "/") {
		return fmt.Sprintf("the cell does not see %s; add --tool %s", d.exe.path, d.exe.path)
	}
	return fmt.Sprintf("the cell does not see %s; add --tool %s", d.exe.path, d.name)
}

// Package ledger is the crash-safe list of what one run has created on the
// host. Each thing is written down before it exists (Intend), then with the
// name that the kernel gave it (Bind), and is struck out once a check says
// that it is gone (Strike). Whoever finds the list, the supervisor that wrote
// it or a later clean-up, can therefore remove everything: see Reclaim.
//
// The file is append-only JSON lines, one write(2) each. It lies on a tmpfs
// and is not synced: it has to survive the death of every process, not of the
// host, which takes everything listed with it.
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// FileName is the name of a ledger inside the runtime directory of its run.
const FileName = "ledger.jsonl"

// maxBytes bounds what Open reads. A run lists a handful of resources.
const maxBytes = 1 << 20

// Kind is what sort of thing an entry is. It selects the Remover.
type Kind string

// An Entry is one resource of a run.
type Entry struct {
	Seq  int  `json:"seq"`
	Kind Kind `json:"kind"`
	// Key is a name of ours, known before the thing exists: a path, a run
	// id, a lock file.
	Key string `json:"key"`
	// Bound is what the thing was called once it existed, such as a process
	// id with its start time. Empty if its creation may not have happened.
	Bound map[string]string `json:"bound,omitempty"`
}

// record is one line of the file.
type record struct {
	Intend *Entry `json:"intend,omitempty"`
	Bind   *bound `json:"bind,omitempty"`
	Strike *int   `json:"strike,omitempty"`
}

type bound struct {
	Seq   int               `json:"seq"`
	Attrs map[string]string `json:"attrs"`
}

// A Ledger is not safe for concurrent use: a run has one lifecycle, and the
// lock of the run keeps everyone else away.
type Ledger struct {
	file    *os.File
	next    int
	pending []Entry
}

// Create starts the ledger of a new run in its runtime directory.
func Create(dir string) (*Ledger, error) {
	f, err := os.OpenFile(dir+"/"+FileName, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create ledger: %w", err)
	}
	return &Ledger{file: f}, nil
}

// Open reads the ledger of a run whose supervisor is gone. A line that was cut
// short announces something that was never created and is ignored; any other
// damage is an error, since a list that cannot be read proves nothing.
func Open(dir string) (*Ledger, error) {
	f, err := os.OpenFile(dir+"/"+FileName, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{file: f}
	if err := l.load(); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *Ledger) load() error {
	data, err := io.ReadAll(io.LimitReader(l.file, maxBytes+1))
	if err != nil {
		return fmt.Errorf("read ledger: %w", err)
	}
	if len(data) > maxBytes {
		return fmt.Errorf("read ledger %s: larger than %d bytes", l.file.Name(), maxBytes)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	for i, line := range bytes.Split(data[:whole], []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("read ledger %s: line %d: %w", l.file.Name(), i+1, err)
		}
		if err := l.apply(r); err != nil {
			return fmt.Errorf("read ledger %s: line %d: %w", l.file.Name(), i+1, err)
		}
	}
	if whole < len(data) {
		// The next line must start on a line of its own.
		if err := l.file.Truncate(int64(whole)); err != nil {
			return fmt.Errorf("repair ledger: %w", err)
		}
	}
	return nil
}

func (l *Ledger) apply(r record) error {
	switch {
	case r.Intend != nil:
		if r.Intend.Seq != l.next {
			return fmt.Errorf("entry %d follows entry %d", r.Intend.Seq, l.next-1)
		}
		l.next++
		l.pending = append(l.pending, *r.Intend)
	case r.Bind != nil:
		i := l.index(r.Bind.Seq)
		if i < 0 {
			return fmt.Errorf("bind of unknown entry %d", r.Bind.Seq)
		}
		l.pending[i].Bound = r.Bind.Attrs
	case r.Strike != nil:
		i := l.index(*r.Strike)
		if i < 0 {
			return fmt.Errorf("strike of unknown entry %d", *r.Strike)
		}
		l.pending = slices.Delete(l.pending, i, i+1)
	default:
		return errors.New("empty record")
	}
	return nil
}

func (l *Ledger) index(seq int) int {
	return slices.IndexFunc(l.pending, func(e Entry) bool { return e.Seq == seq })
}

func (l *Ledger) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return l.apply(r)
}

// Intend writes down that a thing of this kind is about to be created under
// the key. Nothing may be created if it returns an error.
func (l *Ledger) Intend(kind Kind, key string) (seq int, err error) {
	seq = l.next
	return seq, l.append(record{Intend: &Entry{Seq: seq, Kind: kind, Key: key}})
}

// Bind adds what the created thing is called.
func (l *Ledger) Bind(seq int, attrs map[string]string) error {
	return l.append(record{Bind: &bound{Seq: seq, Attrs: attrs}})
}

// Strike takes the entry off the list: a check said that it is gone. Striking
// an entry that is not on the list does nothing.
func (l *Ledger) Strike(seq int) error {
	if l.index(seq) < 0 {
		return nil
	}
	return l.append(record{Strike: &seq})
}

// Pending lists what is not known to be gone, in the order of creation.
func (l *Ledger) Pending() []Entry { return slices.Clone(l.pending) }

// Close releases the file. The list stays.
func (l *Ledger) Close() error { return l.file.Close() }

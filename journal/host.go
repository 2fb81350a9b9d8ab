package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cellos.io/cellos/event"
)

// HostChainPrefix begins the id of the chain of a host. The rest is a UUID, so
// that the chain of one host cannot stand in for that of another.
const HostChainPrefix = "host-"

// A hostChain appends to the chain of the host, in turns with every other
// process of the host. Under the lock it looks at what the others have written.
type hostChain struct {
	*file
	enc      event.Encoder
	buf      []byte
	allocate allocator

	// made is true until the name of a file that was empty is durable.
	made bool

	// next and kid are those after the record that ends at known.
	known int64
	next  event.Link
	kid   string
}

func openHost(path string, enc event.Encoder, allocate allocator) (*hostChain, error) {
	f, err := openFile(path, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	return &hostChain{file: f, enc: enc, allocate: allocate, known: -1, made: f.size == 0}, nil
}

// append writes ev behind whatever is last in the chain. With a reserve it
// does so only if that much space is left beyond.
func (h *hostChain) append(ev *event.Event, reserve int64) error {
	if err := h.lock(lockWait); err != nil {
		return err
	}
	defer h.unlock()

	info, err := h.Stat()
	if err != nil {
		return err
	}
	h.size = info.Size()
	if reserve > 0 {
		if _, err := newSpace(h.file, reserve, h.allocate); err != nil {
			return err
		}
		// Where the file system cannot allocate ahead, the reserve of the run
		// is freed before it is sealed, so here one file of zeros would do
		// nothing more.
		_ = os.Remove(h.path + ".reserve")
	}
	recovered, err := h.catchUp(ev.Time)
	if err != nil {
		return err
	}
	for _, r := range recovered {
		note := event.New(ev.Source, event.Scope{}, ev.Time, r)
		note.Subject = "urn:cellos:host:" + h.next.Chain
		if err := h.put(note); err != nil {
			return err
		}
		if err := settleTorn(h.path, r); err != nil {
			return err
		}
	}
	return h.put(ev)
}

// put encodes and appends one event at next.
func (h *hostChain) put(ev *event.Event) error {
	line, digest, err := h.enc.Encode(h.buf[:0], ev, h.next)
	if err != nil {
		return err
	}
	h.buf = line
	if err := h.file.append(line); err != nil {
		return err
	}
	h.known, h.next, h.kid = h.size, h.next.Next(digest), h.enc.Signer.KID()
	return nil
}

// catchUp reads the last record if another process wrote it. It returns what
// has to be noted before the next one: a torn tail that was set aside, or that
// the key changes.
func (h *hostChain) catchUp(now time.Time) ([]event.AuditRecovered, error) {
	var notes []event.AuditRecovered
	if h.known != h.size {
		if err := h.readTail(now); err != nil {
			return nil, err
		}
	}
	torn, err := pendingTorn(h.path)
	if err != nil {
		return nil, err
	}
	if torn != nil {
		notes = append(notes, *torn)
	}
	if len(notes) == 0 && h.next.Seq > 0 && h.kid != h.enc.Signer.KID() {
		notes = append(notes, event.AuditRecovered{})
	}
	return notes, nil
}

// tailWindow is how much of the end of the host chain is read at first. Its
// records are below 2 KiB. A crash of the host may leave more than that to set
// aside, but what is beyond maxTail is no crash's doing.
const (
	tailWindow = 8 << 10
	maxTail    = event.MaxRecord
)

// readTail finds the last whole record, and sets aside what follows it.
func (h *hostChain) readTail(now time.Time) error {
	last, end, err := lastRecord(h.path, h.File, h.size)
	if err != nil {
		return err
	}
	if end < h.size {
		if err := setAside(h.file, end); err != nil {
			return err
		}
	}
	h.known = h.size
	if last == nil {
		h.next, h.kid = event.Link{Chain: HostChainPrefix + event.NewID(now)}, ""
	} else {
		h.next, h.kid = last.Next(last.Digest), last.KID
	}
	return nil
}

// lastRecord returns the last record of a host chain and where its line ends,
// nil if the chain has none at all.
func lastRecord(name string, f io.ReaderAt, size int64) (last *event.Record, end int64, err error) {
	for _, window := range [...]int64{tailWindow, maxTail} {
		from := max(0, size-window)
		tail := make([]byte, size-from)
		if _, err := f.ReadAt(tail, from); err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", name, err)
		}
		end := bytes.LastIndexByte(tail, '\n') + 1
		for end > 0 {
			start := bytes.LastIndexByte(tail[:end-1], '\n') + 1
			if start == 0 && from > 0 {
				break // the line begins before the window
			}
			if rec, err := event.ParseRecord(tail[start : end-1]); err == nil {
				return rec, from + int64(end), nil
			}
			end = start
		}
		if from == 0 {
			return nil, 0, nil
		}
	}
	return nil, 0, &CorruptError{File: name, Err: errors.New("there is no record near its end")}
}

// Head is the last record of the chain of the host below a state directory,
// for keeping elsewhere.
func Head(stateDir string) (event.Head, error) {
	f, err := os.Open(HostPath(stateDir))
	if err != nil {
		return event.Head{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return event.Head{}, err
	}
	last, _, err := lastRecord(f.Name(), f, info.Size())
	if err != nil {
		return event.Head{}, err
	}
	if last == nil {
		return event.Head{}, fmt.Errorf("%s has no record", f.Name())
	}
	return event.Head{Seq: last.Seq, Digest: last.Digest}, nil
}

package journal

import (
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
	enc event.Encoder
	buf []byte

	// next and kid are those after the record that ends at known.
	known int64
	next  event.Link
	kid   string
}

func openHost(path string, enc event.Encoder) (*hostChain, error) {
	f, err := openFile(path, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	return &hostChain{file: f, enc: enc, known: -1}, nil
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
		if _, err := newSpace(h.file, reserve); err != nil {
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

// tailWindow is how much of the end of the host chain is read. Its records are
// below 2 KiB; what is beyond a window without a record is no crash's doing.
const tailWindow = 64 << 10

// readTail finds the last whole record, and sets aside what follows it.
func (h *hostChain) readTail(now time.Time) error {
	for window := int64(tailWindow); ; window *= 16 {
		from := max(0, h.size-window)
		last, end, err := lastRecord(io.NewSectionReader(h.File, from, h.size-from), from > 0)
		if err != nil {
			return err
		}
		if last == nil && from > 0 && window < event.MaxRecord {
			continue
		}
		if last == nil && from > 0 {
			return &CorruptError{File: h.path, Err: errors.New("there is no record near its end")}
		}
		if end += from; end < h.size {
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
}

// lastRecord returns the last record in r and where its line ends. With
// partial, r begins inside a line.
func lastRecord(r io.Reader, partial bool) (last *event.Record, end int64, err error) {
	lines := event.NewLines(r)
	for first := true; ; first = false {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return last, end, nil
		}
		var fault *event.Fault
		if err != nil && !errors.As(err, &fault) {
			return nil, 0, err
		}
		if err != nil || first && partial {
			continue
		}
		if rec, err := event.ParseRecord(line); err == nil {
			last, end = rec, lines.Offset+int64(len(line))+1
		}
	}
}

// Head is the last record of the chain of the host below a state directory,
// for keeping elsewhere.
func Head(stateDir string) (event.Head, error) {
	f, err := os.Open(HostPath(stateDir))
	if err != nil {
		return event.Head{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return event.Head{}, err
	}
	from := max(0, size-2*event.MaxRecord)
	last, _, err := lastRecord(io.NewSectionReader(f, from, size-from), from > 0)
	if err != nil {
		return event.Head{}, err
	}
	if last == nil {
		return event.Head{}, fmt.Errorf("%s has no record", f.Name())
	}
	return event.Head{Seq: last.Seq, Digest: last.Digest}, nil
}

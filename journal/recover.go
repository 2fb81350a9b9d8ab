package journal

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/sink"
)

// A torn tail goes through these states; a kill in any of them repeats it:
//
//	RUN.jsonl ends torn
//	RUN.jsonl.torn has a copy of the tail, durable       setAside
//	RUN.jsonl ends whole                                 setAside
//	RUN.jsonl says audit.v1.recovered                    the caller
//	RUN.jsonl.torn-HASH                                  settleTorn

// setAside copies what follows the first end bytes of f to f.torn, and cuts f.
func setAside(f *file, end int64) error {
	pending := f.path + ".torn"
	if err := keepOlder(f, pending, end); err != nil {
		return err
	}
	// Only our own unfinished copy can be there: it is written anew.
	out, err := os.OpenFile(pending, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("set a torn tail aside: %w", err)
	}
	_, err = io.Copy(out, io.NewSectionReader(f.File, end, f.size-end))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("set a torn tail aside: %w", err)
	}
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		return err
	}
	return f.truncate(end)
}

// keepOlder gives its final name to a tail that was cut off before, when the
// record about it was torn in turn.
func keepOlder(f *file, pending string, end int64) error {
	old, err := os.ReadFile(pending)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now := make([]byte, min(int64(len(old)), f.size-end))
	if _, err := f.ReadAt(now, end); err != nil {
		return err
	}
	if string(now) == string(old) {
		return nil // a copy of this tail, or the beginning of one
	}
	sum := sha256.Sum256(old)
	return os.Rename(pending, tornName(f.path, hex.EncodeToString(sum[:])))
}

func tornName(path, sum string) string { return path + ".torn-" + sum[:16] }

// pendingTorn returns the record about a tail that was set aside and not yet
// spoken of, or nil.
func pendingTorn(path string) (*event.AuditRecovered, error) {
	f, err := os.Open(path + ".torn")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return nil, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	return &event.AuditRecovered{Bytes: n, SHA256: sum, File: filepath.Base(tornName(path, sum))}, nil
}

// settleTorn gives a tail its final name once the chain has told of it.
func settleTorn(path string, r event.AuditRecovered) error {
	if r.SHA256 == "" {
		return nil
	}
	return os.Rename(path+".torn", tornName(path, r.SHA256))
}

// An Orphan is a run that is not sealed. It may be alive: whoever holds the
// lock of the run knows.
type Orphan struct {
	RunID string
	// Opened is false if the host chain does not know the run; then nothing
	// of it was created.
	Opened bool
	// Sealed is true if only the mark of the open run was left.
	Sealed   bool
	Spec     RunSpec
	OpenedAt time.Time
}

// Orphans returns every run that is not sealed, in the order of their ids. It
// reads the host chain only if there is one.
func (j *Journal) Orphans() ([]Orphan, error) {
	entries, err := os.ReadDir(filepath.Join(j.dir, "open"))
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, nil
	}
	found := make(map[string]*Orphan, len(entries))
	for _, e := range entries {
		if checkRunID(e.Name()) != nil {
			continue
		}
		runtime, err := os.ReadFile(j.markerPath(e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // finished since
		}
		if err != nil {
			return nil, err
		}
		found[e.Name()] = &Orphan{RunID: e.Name(), Spec: RunSpec{Scope: event.Scope{RunID: e.Name()}, RuntimeDir: string(runtime)}}
	}
	if err := j.lookUp(found); err != nil {
		return nil, err
	}
	orphans := make([]Orphan, 0, len(found))
	for _, o := range found {
		orphans = append(orphans, *o)
	}
	slices.SortFunc(orphans, func(a, b Orphan) int { return strings.Compare(a.RunID, b.RunID) })
	return orphans, nil
}

// lookUp completes what the host chain says about the given runs. Damage in it
// is for the verifier to report; here it must not keep a run from being
// cleaned up.
func (j *Journal) lookUp(runs map[string]*Orphan) error {
	f, err := os.Open(j.host.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := event.NewLines(f); ; {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var fault *event.Fault
		if errors.As(err, &fault) {
			continue
		}
		if err != nil {
			return err
		}
		rec, err := event.ParseRecord(line)
		if err != nil {
			continue
		}
		o := runs[rec.Scope().RunID]
		if o == nil {
			continue
		}
		switch rec.Type {
		case event.RunOpened{}.EventType():
			var data event.RunOpened
			if rec.Decode(&data) == nil {
				o.Opened, o.OpenedAt = true, rec.Time
				o.Spec.Scope, o.Spec.SpecHash = rec.Scope(), data.SpecHash
			}
		case event.RunSealed{}.EventType():
			o.Sealed = true
		}
	}
}

// ResumeRun takes up the chain of a run whose supervisor is gone, so that it
// can be finished: a torn tail is set aside, and unless the chain has ended
// already audit.v1.recovered is its next record. The run is closing, and its
// Contents say what it already holds. The caller holds the lock of the run.
//
// ErrFinished means that the run needed nothing more. Whatever ResumeRun has
// done when it is killed, calling it again completes.
func (j *Journal) ResumeRun(runID string) (*Run, error) {
	if err := checkRunID(runID); err != nil {
		return nil, err
	}
	marker, err := j.takeMarker(runID)
	if err != nil {
		return nil, fmt.Errorf("resume run %s: %w", runID, err)
	}
	r, err := j.resumeMarked(runID, marker)
	if err != nil {
		marker.Close()
		return nil, fmt.Errorf("resume run %s: %w", runID, err)
	}
	return r, nil
}

// takeMarker locks the mark of an open run. A child that is about to exec may
// hold the lock for a moment longer than the process that died.
func (j *Journal) takeMarker(runID string) (*file, error) {
	marker, err := openFile(j.markerPath(runID), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrFinished
	}
	if err != nil {
		return nil, err
	}
	err = marker.lock(time.Second)
	if err == nil && !marker.named() {
		err = ErrFinished
	}
	if err != nil {
		marker.Close()
		return nil, err
	}
	return marker, nil
}

func (j *Journal) resumeMarked(runID string, marker *file) (*Run, error) {
	o := Orphan{RunID: runID, Spec: RunSpec{Scope: event.Scope{RunID: runID}}}
	if err := j.lookUp(map[string]*Orphan{runID: &o}); err != nil {
		return nil, err
	}
	f, err := openFile(j.runPath(runID), os.O_CREATE)
	if err != nil {
		return nil, err
	}
	r := j.newRun(o.Spec, f)
	r.closing, r.marker = true, marker
	if err := r.resume(o); err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func (r *Run) resume(o Orphan) error {
	if err := r.file.lock(time.Second); err != nil {
		return err
	}
	r.takeSpace()
	switch {
	case o.Sealed:
		return cmp.Or(errors.Join(r.space.free(), os.Remove(r.marker.path)), ErrFinished)
	case !o.Opened && r.file.size == 0:
		return cmp.Or(errors.Join(r.space.closing(), os.Remove(r.file.path), os.Remove(r.marker.path)), ErrFinished)
	}
	if err := r.space.closing(); err != nil {
		return err
	}
	end, err := r.replay(io.NewSectionReader(r.file.File, 0, r.file.size))
	if err != nil {
		return err
	}
	if end < r.file.size {
		if err := setAside(r.file, end); err != nil {
			return err
		}
	}
	if r.contents.Bundle {
		return nil // nothing follows the bundle; it only has to be sealed
	}
	r.resumeMirrors()
	return r.noteRecovery()
}

// resumeMirrors completes a mirror that lacks the last record only, because
// the supervisor was killed between the journal and it. One that lacks more,
// or is not that of this run at all, gets nothing: see mirror.
func (r *Run) resumeMirrors() {
	before, last := r.ends[0], r.ends[1]
	for _, m := range r.j.opts.Mirrors {
		h, ok := m.(sink.Holder)
		if !ok || len(last) == 0 {
			continue
		}
		held, err := h.Holds(last)
		if held {
			continue
		}
		if err == nil {
			held = len(before) == 0
			if !held {
				held, err = h.Holds(before)
			}
		}
		if err != nil || !held || h.Write(last) != nil {
			r.broken = append(r.broken, m)
		}
	}
}

// takeSpace reserves what the closing needs. The reserve of the supervisor
// that died may be all that the disk has; then the records are tried anyway.
func (r *Run) takeSpace() {
	var err error
	if r.space, err = newSpace(r.file, ClosingReserve, r.j.allocate); err == nil {
		return
	}
	r.space = &space{file: r.file, limit: r.file.size, allocate: r.j.allocate}
	if zeros := r.file.path + ".reserve"; exists(zeros) {
		r.space.zeros = zeros
	}
}

// noteRecovery makes audit.v1.recovered the next record.
func (r *Run) noteRecovery() error {
	last := r.contents.LastTime
	note := event.AuditRecovered{}
	if torn, err := pendingTorn(r.file.path); err != nil {
		return err
	} else if torn != nil {
		note = *torn
	}
	if _, err := r.emit(note, true); err != nil && !errors.Is(err, ErrMirror) {
		return err
	}
	r.contents.LastTime = last
	return settleTorn(r.file.path, note)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// replay reads the chain, and returns where its last whole record ends. Only
// what follows that may be damaged. Signatures are the verifier's business:
// the key may have died with the supervisor.
func (r *Run) replay(chain io.Reader) (end int64, err error) {
	lines := event.NewLines(chain)
	var torn error // the first damage
	tornLine := 0
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		var fault *event.Fault
		if err != nil && !errors.As(err, &fault) {
			return 0, err
		}
		var rec *event.Record
		if err == nil {
			rec, err = event.ParseRecord(line)
		}
		if err != nil {
			if torn == nil {
				torn, tornLine = err, lines.Num
			}
			continue
		}
		if torn != nil {
			return 0, &CorruptError{File: r.file.path, Line: tornLine, Err: torn}
		}
		if rec.Link != r.next {
			return 0, &CorruptError{File: r.file.path, Line: lines.Num, Err: event.FaultRelinked}
		}
		r.take(rec)
		r.ends[0] = append(r.ends[0][:0], r.ends[1]...)
		r.ends[1] = append(append(r.ends[1][:0], line...), '\n')
		end = lines.Offset + int64(len(line)) + 1
	}
}

// take notes a record that is already in the chain.
func (r *Run) take(rec *event.Record) {
	r.next = rec.Next(rec.Digest)
	ref := event.Ref{ID: rec.ID, Seq: rec.Seq, Type: rec.Type}
	r.contents.note(ref, dataOf(rec), rec.Digest, rec.Time)
	if scope := rec.Scope(); scope.CellID != "" {
		r.spec.Scope = scope
		r.contents.Spec.Scope = scope
	}
}

// dataOf decodes the events that Contents looks into, nil for others.
func dataOf(rec *event.Record) event.Data {
	switch rec.Type {
	case event.AdmissionDecided{}.EventType():
		return decode[event.AdmissionDecided](rec)
	case event.IdentityMaterialized{}.EventType():
		return decode[event.IdentityMaterialized](rec)
	case event.IdentityRevoked{}.EventType():
		return decode[event.IdentityRevoked](rec)
	case event.LifecycleDestroyed{}.EventType():
		return event.LifecycleDestroyed{}
	case event.EvidenceBundle{}.EventType():
		return event.EvidenceBundle{}
	}
	return nil
}

func decode[T event.Data](rec *event.Record) event.Data {
	var data T
	if rec.Decode(&data) != nil {
		return nil
	}
	return data
}

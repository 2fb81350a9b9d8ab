package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/sink"
)

// A RunSpec is what the host chain says about a run when it is opened.
type RunSpec struct {
	Scope    event.Scope
	SpecHash string
	// RuntimeDir is where the run keeps what it creates: whoever finishes it
	// looks there, whatever his own settings say. The mark of the run has it.
	RuntimeDir string
	// MaxBytes is the budget for ordinary records; 0 means none.
	MaxBytes int64
}

// A Run is the chain of one run, open for writing. It is safe for concurrent
// use. The caller holds the lock of the run, so that no other process writes
// the same chain; the lock on the file only makes a mistake harmless.
type Run struct {
	j      *Journal
	spec   RunSpec
	marker *file // open/RUN, locked as long as the run is ours
	space  *space

	mu       sync.Mutex
	file     *file
	enc      event.Encoder
	buf      []byte
	next     event.Link
	contents Contents
	broken   []sink.Sink // mirrors that lack a record of this run
	ends     [2][]byte   // the last two lines of a chain that was taken up
	closing  bool
	dirsDone bool // the names of the files survive the host
	sealed   bool
}

// Contents is what a chain holds, as the evidence bundle needs it.
type Contents struct {
	Spec RunSpec
	// Counts are the records by event type.
	Counts map[string]int64
	// Refs are the admission, lifecycle, identity, export, command, process
	// and compliance events, in order.
	Refs []event.Ref
	// Head is the digest of the last record, LastSeq its place. Both mean
	// nothing if there is none.
	Head    event.Digest
	LastSeq uint64
	// LastTime is that of the last record before the chain was taken up.
	LastTime time.Time
	// Allowed, Destroyed and Bundle say how far the run had come.
	Allowed   bool
	Destroyed bool
	Bundle    bool
	// Unrevoked are the names of secrets that were given out under LeaseID
	// and not revoked yet.
	Unrevoked []string
	LeaseID   string
}

// Records is the number of records in the chain.
func (c *Contents) Records() uint64 {
	var n uint64
	for _, count := range c.Counts {
		n += uint64(count)
	}
	return n
}

var referenced = map[string]bool{
	"admission": true, "lifecycle": true, "identity": true, "export": true, "command": true, "compliance": true,
}

// note adds one record to c.
func (c *Contents) note(ref event.Ref, data event.Data, digest event.Digest, at time.Time) {
	c.Counts[ref.Type]++
	if referenced[event.Family(ref.Type)] || ref.Type == (event.ProcessSpawned{}).EventType() {
		c.Refs = append(c.Refs, ref)
	}
	c.Head, c.LastSeq, c.LastTime = digest, ref.Seq, at
	switch data := data.(type) {
	case event.AdmissionDecided:
		c.Allowed = data.Verdict == event.VerdictAllowed
	case event.IdentityMaterialized:
		c.Unrevoked = append(c.Unrevoked, data.KeyNames...)
		c.LeaseID = data.LeaseID
	case event.IdentityRevoked:
		if data.Error == "" {
			c.Unrevoked, c.LeaseID = nil, ""
		}
	case event.LifecycleDestroyed:
		c.Destroyed = true
	case event.EvidenceBundle:
		c.Bundle = true
	}
}

// OpenRun opens the chain of a run, reserves what its closing needs and tells
// the host chain, in this order. It leaves nothing behind if it fails. Nothing
// of the run may exist before.
func (j *Journal) OpenRun(spec RunSpec) (*Run, error) {
	runID := spec.Scope.RunID
	if err := checkRunID(runID); err != nil {
		return nil, err
	}
	marker, err := j.createMarker(runID)
	if err != nil {
		return nil, openRunError(runID, err)
	}
	err = marker.append([]byte(spec.RuntimeDir))
	if err != nil {
		return nil, errors.Join(openRunError(runID, err), os.Remove(marker.path), marker.Close())
	}
	r, err := j.createRun(spec)
	if err == nil {
		r.marker = marker
		err = j.appendHost(spec.Scope, event.RunOpened{SpecHash: spec.SpecHash}, hostReserve)
		if err != nil {
			r.discard()
		}
	}
	if err != nil {
		return nil, errors.Join(openRunError(runID, err), os.Remove(marker.path), marker.Close())
	}
	return r, nil
}

// createMarker makes and locks the mark of an open run. Before we have the
// lock, ResumeRun may take the mark for that of a run that never came to be
// and remove it: then we hold the lock of a file that has no name any more.
func (j *Journal) createMarker(runID string) (*file, error) {
	for {
		marker, err := openFile(j.markerPath(runID), os.O_CREATE|os.O_EXCL)
		if err != nil {
			return nil, err
		}
		if err := marker.lock(lockWait); err != nil {
			marker.Close()
			return nil, err
		}
		if marker.named() {
			return marker, nil
		}
		marker.Close()
	}
}

// createRun makes the file of a run.
func (j *Journal) createRun(spec RunSpec) (*Run, error) {
	f, err := openFile(j.runPath(spec.Scope.RunID), os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	r := j.newRun(spec, f)
	if err := f.lock(0); err != nil {
		r.discard()
		return nil, err
	}
	if r.space, err = newSpace(f, ClosingReserve, j.allocate); err != nil {
		r.discard()
		return nil, err
	}
	return r, nil
}

func (j *Journal) newRun(spec RunSpec, f *file) *Run {
	return &Run{
		j: j, spec: spec, file: f, enc: j.encoder(),
		next:     event.Link{Chain: spec.Scope.RunID},
		contents: Contents{Spec: spec, Counts: make(map[string]int64)},
	}
}

// discard removes the file of a run that nothing is known of elsewhere.
func (r *Run) discard() {
	if r.space != nil {
		_ = r.space.closing()
	}
	_ = os.Remove(r.file.path)
	r.file.Close()
}

func openRunError(runID string, err error) error {
	switch {
	case errors.Is(err, os.ErrExist):
		err = fmt.Errorf("%w: %w", ErrExists, err)
	case noSpace(err) && !errors.Is(err, ErrNoReserve):
		err = fmt.Errorf("%w: %w", ErrNoReserve, err)
	}
	return fmt.Errorf("open run %s: %w", runID, err)
}

// checkRunID refuses what could not be a file name or would look like the
// chain of a host.
func checkRunID(id string) error {
	if err := event.CheckKID(id); err != nil || strings.HasPrefix(id, HostChainPrefix) {
		return fmt.Errorf("run id %.140q: want 1 to 128 of A-Z a-z 0-9 . _ - that do not begin with a dot or %q", id, HostChainPrefix)
	}
	return nil
}

// Path is the file of the chain.
func (r *Run) Path() string { return r.file.path }

// Emit appends one event. When it returns nil, or an error that is ErrMirror,
// the event is in the journal and survives the death of this process.
//
// ErrBudget and ErrFull mean that it is not, and that only closing events have
// room: the cell has to end.
func (r *Run) Emit(data event.Data) (event.Ref, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emit(data, r.closing)
}

// emitClosing appends an event as if Closing had been called.
func (r *Run) emitClosing(data event.Data) (event.Ref, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emit(data, true)
}

func (r *Run) emit(data event.Data, closing bool) (event.Ref, error) {
	if r.sealed || r.contents.Bundle {
		return event.Ref{}, fmt.Errorf("emit %s: %w", event.Suffix(data.EventType()), ErrEnded)
	}
	ev := event.New(r.j.source, r.spec.Scope, r.j.opts.Clock(), data)
	line, digest, err := r.enc.Encode(r.buf[:0], ev, r.next)
	if err != nil {
		return event.Ref{}, err
	}
	r.buf = line
	n := int64(len(line))
	if budget := r.spec.MaxBytes; !closing && budget > 0 && r.file.size+n > budget {
		return event.Ref{}, fmt.Errorf("%s: %w: %d bytes (spec.run.limits.eventsMaxBytes)", r.file.path, ErrBudget, budget)
	}
	if err := r.space.room(n, closing); err != nil {
		return event.Ref{}, err
	}
	if err := r.file.append(line); err != nil {
		return event.Ref{}, err
	}
	ref := event.Ref{ID: ev.ID, Seq: r.next.Seq, Type: data.EventType()}
	r.next = r.next.Next(digest)
	r.contents.note(ref, data, digest, ev.Time)
	if r.j.opts.Sync == SyncAlways {
		if err := r.sync(); err != nil {
			return ref, err
		}
	}
	return ref, r.mirror(line)
}

// mirror hands the record to every mirror, whatever the others say. One that
// failed gets no more of this run: a copy that ends early is unfinished, one
// with a hole looks tampered with.
func (r *Run) mirror(line []byte) error {
	var errs []error
	for _, m := range r.j.opts.Mirrors {
		if slices.Contains(r.broken, m) {
			continue
		}
		if err := m.Write(line); err != nil {
			r.broken = append(r.broken, m)
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMirror, errors.Join(errs...))
}

// Closing lifts the event budget and lets the rest of the run use the reserve.
func (r *Run) Closing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	return r.space.closing()
}

// Sync makes the chain so far survive the host, unless the policy is SyncOff.
func (r *Run) Sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sync()
}

func (r *Run) sync() error {
	if r.j.opts.Sync == SyncOff {
		return nil
	}
	if err := r.file.sync(); err != nil || r.dirsDone {
		return err
	}
	// The host chain has said that this run exists, and its mark is how it is
	// found: neither may be lost while the run itself is kept.
	if err := errors.Join(
		r.j.syncHost(),
		syncDir(filepath.Dir(r.file.path)),
		syncDir(filepath.Dir(r.marker.path)),
	); err != nil {
		return err
	}
	r.dirsDone = true
	return nil
}

// Contents returns what the chain holds so far.
func (r *Run) Contents() Contents {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.contents
	c.Counts = make(map[string]int64, len(r.contents.Counts))
	for t, n := range r.contents.Counts {
		c.Counts[t] = n
	}
	c.Refs = append([]event.Ref(nil), r.contents.Refs...)
	c.Unrevoked = append([]string(nil), r.contents.Unrevoked...)
	return c
}

// Seal ends the chain: its surplus space is freed, its head is durable, the
// host chain names it. Nothing can be emitted after. If it fails, the run is
// an orphan for ResumeRun; calling Seal again is allowed too.
func (r *Run) Seal() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed {
		return nil
	}
	if r.next.Seq == 0 {
		return fmt.Errorf("seal %s: there is no record in it", r.file.path)
	}
	// Freed first: on a full disk the record of the host chain may need it.
	if err := r.space.free(); err != nil {
		return err
	}
	// The host chain must not name a head that the disk does not have.
	if err := r.sync(); err != nil {
		return err
	}
	seal := event.RunSealed{ChainSeq: r.contents.LastSeq, Digest: r.contents.Head}
	if err := r.j.appendHost(r.spec.Scope, seal, 0); err != nil {
		return fmt.Errorf("seal run %s: %w", r.spec.Scope.RunID, err)
	}
	r.sealed = true
	var err error
	if r.j.opts.Sync != SyncOff {
		err = r.j.syncHost()
	}
	return errors.Join(err, r.finish())
}

// finish removes the mark of an open run.
func (r *Run) finish() error {
	return errors.Join(os.Remove(r.marker.path), r.file.Close(), r.marker.Close())
}

// Close releases the file of a run that is not sealed, and leaves the run to
// be found by Orphans. After Seal it does nothing.
func (r *Run) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed {
		return nil
	}
	r.sealed = true
	return errors.Join(r.file.Close(), r.marker.Close())
}

func (j *Journal) syncHost() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.host.sync(); err != nil || !j.host.made {
		return err
	}
	// Both directories above may be as new as the host chain.
	if err := errors.Join(syncDir(j.dir), syncDir(j.opts.Dir)); err != nil {
		return err
	}
	j.host.made = false
	return nil
}

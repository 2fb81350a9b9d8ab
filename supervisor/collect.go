package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/boottime"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/ledger"
)

// Collected is a run whose supervisor was killed, and what became of it.
type Collected struct {
	RunID  string
	Reason string // supervisor_lost or host_restarted
	// Remaining is what could not be removed; nil if nothing is left.
	Remaining error
}

func (c Collected) String() string {
	if c.Remaining != nil {
		return fmt.Sprintf("run %s (%s): still there: %v", c.RunID, c.Reason, c.Remaining)
	}
	return fmt.Sprintf("run %s (%s): nothing is left of it, and its trail is complete", c.RunID, c.Reason)
}

// Collect finishes the runs of supervisors that no longer live: it removes
// what they left on the host, gives their leases back and completes their
// trails. A run whose supervisor lives is not touched: its locks say so. It
// can be killed at any point and repeated, and several may run at once.
func (s *Supervisor) Collect(ctx context.Context) ([]Collected, error) {
	ctx, cancel := context.WithTimeout(ctx, concludeTimeout)
	defer cancel()
	// The trails first: a run that begins now is not among them.
	list, err := s.Journal.Orphans()
	if err != nil {
		return nil, fmt.Errorf("list unfinished trails: %w", err)
	}
	orphans := make(map[string]journal.Orphan, len(list))
	for _, o := range list {
		orphans[o.RunID] = o
	}
	dirs, err := os.ReadDir(s.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var done []Collected
	var errs []error
	for _, d := range dirs {
		if !d.IsDir() || !event.IsID(d.Name()) {
			continue // not a run: id blocks and the like
		}
		orphan, known := orphans[d.Name()]
		delete(orphans, d.Name())
		collected, err := s.collectDir(ctx, filepath.Join(s.RuntimeDir, d.Name()), orphan, known)
		done, errs = append(done, collected...), append(errs, err)
	}
	for _, orphan := range orphans {
		// Its supervisor may have had another runtime directory than ours.
		collect := func() ([]Collected, error) { return s.finish(ctx, orphan, nil, nil) }
		if path := s.runtimePath(orphan); exists(path) {
			collect = func() ([]Collected, error) { return s.collectDir(ctx, path, orphan, true) }
		}
		collected, err := collect()
		done, errs = append(done, collected...), append(errs, err)
	}
	return done, errors.Join(errs...)
}

// collectDir finishes the run of a runtime directory, if nobody holds it.
func (s *Supervisor) collectDir(ctx context.Context, path string, orphan journal.Orphan, known bool) ([]Collected, error) {
	dir, err := lockRunDir(path)
	if errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.close()
	l, err := ledger.Open(dir.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l = nil // killed before there was one, or after all on it was gone
	case err != nil:
		return nil, err
	default:
		defer l.Close()
	}
	if known {
		return s.finish(ctx, orphan, dir, l)
	}
	// The trail is sealed, or lies in the state directory of someone else.
	if l == nil || len(l.Pending()) == 0 {
		return nil, dir.remove()
	}
	for _, e := range l.Pending() {
		if state := e.Bound[attrState]; e.Kind == kindRunDir && state != "" && state != s.Journal.StateDir() {
			return nil, fmt.Errorf("run %s has its trail in %s: run cellos gc with CELLOS_STATE_DIR=%s", filepath.Base(path), state, state)
		}
	}
	return nil, ledger.Reclaim(ctx, l, removers(l, dir)).Err()
}

// finish does for an orphan what conclude does for a run of ours.
func (s *Supervisor) finish(ctx context.Context, orphan journal.Orphan, dir *runDir, l *ledger.Ledger) ([]Collected, error) {
	trail, err := s.Journal.ResumeRun(orphan.RunID)
	switch {
	case errors.Is(err, journal.ErrFinished):
		// It was never opened, or everything but its mark was gone.
		// What its supervisor could not remove may be on the ledger still.
		if dir != nil {
			return nil, s.reclaimOrphan(ctx, dir, l, orphan).Err()
		}
		return nil, nil
	case errors.Is(err, journal.ErrLocked):
		return nil, nil // its supervisor lives, between two steps
	case errors.As(err, new(*journal.CorruptError)):
		// Nothing is added to it, but what it is about must not stay.
		if dir != nil {
			err = errors.Join(err, s.reclaimOrphan(ctx, dir, l, orphan).Err())
		}
		return nil, err
	case err != nil:
		return nil, err
	}
	defer trail.Close()

	c := Collected{RunID: orphan.RunID, Reason: reasonSupervisorLost}
	if dir == nil && orphan.OpenedAt.Before(bootTime()) || l != nil && slices.ContainsFunc(l.Pending(), bootedAgain) {
		c.Reason = reasonHostRestarted
	}
	receipt := s.reclaimOrphan(ctx, dir, l, orphan)
	c.Remaining = receipt.Err()
	if c.Remaining != nil {
		// The trail stays open, so that the next attempt can say that it is
		// gone.
		return []Collected{c}, nil
	}
	contents := trail.Contents()
	if contents.Bundle {
		return []Collected{c}, trail.Seal()
	}
	var errs []error
	if names := contents.Unrevoked; len(names) > 0 {
		errs = append(errs, s.revokeOrphan(ctx, trail, names, contents.LeaseID))
	}
	out := Outcome{Code: ExitIncomplete, Source: FromSupervisor, Reason: c.Reason}
	errs = append(errs, closeTrail(trail, receipt, out, &recovery{until: contents.LastTime}))
	return []Collected{c}, errors.Join(errs...)
}

// reclaimOrphan removes what an orphan left. Without a ledger, or with one that
// lists nothing, nothing but the directory can be left: it is written before
// anything else, and removed after all else was struck out.
func (s *Supervisor) reclaimOrphan(ctx context.Context, dir *runDir, l *ledger.Ledger, orphan journal.Orphan) ledger.Receipt {
	if l != nil && len(l.Pending()) > 0 {
		return ledger.Reclaim(ctx, l, removers(l, dir))
	}
	path := s.runtimePath(orphan)
	line := ledger.Line{Entry: ledger.Entry{Kind: kindRunDir, Key: path}, Check: ledger.Check{Method: ledger.ByPath}}
	if dir != nil {
		line.Err = dir.remove()
	}
	process := ledger.Line{
		Entry: ledger.Entry{Kind: kindProcess, Key: filepath.Join(path, initLockName)},
		Check: ledger.Check{Method: ledger.ByPath, Inferred: true},
	}
	return ledger.Receipt{process, line}
}

func (s *Supervisor) revokeOrphan(ctx context.Context, trail *journal.Run, names []string, lease string) error {
	revoked := event.IdentityRevoked{KeyNames: names, LeaseID: lease}
	err := s.Broker.Revoke(ctx, lease)
	if err != nil {
		revoked.Error = "the broker could not revoke the lease"
	}
	_, emitErr := trail.Emit(revoked)
	return errors.Join(err, emitErr)
}

// runtimePath is the runtime directory of an orphan. A run whose mark says
// nothing was never opened, or its host went down.
func (s *Supervisor) runtimePath(orphan journal.Orphan) string {
	runtime := orphan.Spec.RuntimeDir
	if !filepath.IsAbs(runtime) {
		runtime = s.RuntimeDir
	}
	return filepath.Join(runtime, orphan.RunID)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// bootTime is when this host started, by today's clock.
func bootTime() time.Time { return time.Now().Add(-boottime.Now()) }

package supervisor

import (
	"cmp"
	"errors"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/ledger"
)

// recovery marks the end of a trail that its own supervisor did not write.
type recovery struct {
	// until is when the last event before the recovery was written: later
	// repetitions of an observation are not counted.
	until time.Time
}

// closeTrail writes what ends every trail: destroyed, the evidence bundle with
// the receipt of everything that was created, and the seal.
func closeTrail(trail *journal.Run, receipt ledger.Receipt, out Outcome, by *recovery) error {
	destroyed := event.LifecycleDestroyed{
		Outcome: event.OutcomeFailed, Reason: out.Reason, ResidueClass: residueClass(receipt),
		EvidenceBundleRef: event.BundleRef(trail.Contents().Spec.Scope.RunID),
	}
	if out.Succeeded() {
		destroyed.Outcome = event.OutcomeSucceeded
	}
	// A supervisor that was killed between the two may have written the first
	// already. What it could not say any more is said again, so that every
	// trail ends with this pair, about the same receipt.
	mirror, err := emitTo(trail, destroyed)
	bundleMirror, bundleErr := emitTo(trail, bundle(trail.Contents(), receipt, by))
	mirror = cmp.Or(mirror, bundleMirror)
	if err := errors.Join(err, bundleErr); err != nil {
		// An unfinished trail is not sealed: the next clean-up finishes it.
		return errors.Join(err, trail.Close())
	}
	// A mirror that fails does not keep the trail open: the journal is whole.
	return errors.Join(mirror, trail.Seal())
}

// emitTo appends an event and tells the failure of a mirror, which lacks what
// the journal has, from that of the journal.
func emitTo(trail *journal.Run, d event.Data) (mirror, err error) {
	_, err = trail.Emit(d)
	if errors.Is(err, journal.ErrMirror) {
		return err, nil
	}
	return nil, err
}

func bundle(c journal.Contents, receipt ledger.Receipt, by *recovery) event.EvidenceBundle {
	b := event.EvidenceBundle{
		ChainID: c.Spec.Scope.RunID, FirstSeq: 0, LastSeq: c.LastSeq, HeadDigest: c.Head,
		Counts: c.Counts, SpecHash: c.Spec.SpecHash,
		ResidueClass: residueClass(receipt), Receipt: []event.Resource{}, Remaining: []event.Resource{},
	}
	for _, ref := range c.Refs {
		refer(&b, ref)
	}
	for _, line := range receipt {
		r := event.Resource{Kind: string(line.Kind), ID: resourceID(line.Entry), Method: string(line.Check.Method), Strength: line.Check.Strength()}
		if line.Err != nil {
			r.Method, r.Strength, r.Error = "", "", line.Err.Error()
			b.Remaining = append(b.Remaining, r)
			continue
		}
		b.Receipt = append(b.Receipt, r)
	}
	if by != nil {
		b.Recovered = true
		b.CountsCompleteUntil = &event.Timestamp{Time: by.until}
	}
	return b
}

// refer puts a reference into the field of the bundle that is for its type.
func refer(b *event.EvidenceBundle, ref event.Ref) {
	switch ref.Type {
	case event.LifecycleStarted{}.EventType():
		b.StartedEventRef = ref.ID
	case event.LifecycleDestroyed{}.EventType():
		b.CellDestroyedEventRef = ref.ID
	case event.CommandCompleted{}.EventType():
		b.CommandCompletedEventRef = ref.ID
	case event.ComplianceSummary{}.EventType():
		b.ComplianceSummaryEventRef = ref.ID
	case event.ProcessSpawned{}.EventType():
		b.SpawnedEventRefs = append(b.SpawnedEventRefs, ref.ID)
	default:
		switch event.Family(ref.Type) {
		case "identity":
			b.IdentityEventRefs = append(b.IdentityEventRefs, ref.ID)
		case "export":
			b.ExportEventRefs = append(b.ExportEventRefs, ref.ID)
		}
	}
}

// resourceID is what a resource was called: the name the kernel gave it, or
// ours where it may never have had one.
func resourceID(e ledger.Entry) string {
	if pid := e.Bound[attrPID]; pid != "" {
		return "pid " + pid + " started " + e.Bound[attrStartTime]
	}
	return e.Key
}

// residueClass is the receipt in one word.
func residueClass(receipt ledger.Receipt) string {
	class := event.ResidueNone
	for _, line := range receipt {
		switch {
		case line.Err != nil:
			return event.ResidueRemaining
		case line.Check.Inferred:
			class = event.ResidueInferred
		}
	}
	return class
}

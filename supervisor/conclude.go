package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/event"
	"cellos.io/cellos/ledger"
	"cellos.io/cellos/plan"
)

// killTimeout is how long a killed cell may take to be gone. The kernel needs
// milliseconds, a process in uninterruptible sleep as long as its device.
const killTimeout = 10 * time.Second

// conclude destroys the cell, revokes its secrets, removes what it left on the
// host and closes the trail. Each step is tried whatever became of the others.
func (c *run) conclude(ctx context.Context, out Outcome) Outcome {
	ctx, cancel := context.WithTimeout(ctx, concludeTimeout)
	defer cancel()
	c.stopWatching()
	if c.started == 0 && out.Code == ExitIncomplete {
		out.Code = ExitInternal // the trail failed, and nothing had run
	}
	errs := []error{c.endCell()}
	errs = append(errs, c.trail.Closing())

	errs = append(errs, c.revoke(ctx))
	// The same removal that a clean-up after a crash does.
	var receipt ledger.Receipt
	if c.ledger != nil {
		receipt = ledger.Reclaim(ctx, c.ledger, removers(c.ledger, c.dir))
		errs = append(errs, receipt.Err(), c.ledger.Close())
	}
	out = c.downgrade(out, reasonTeardown, errors.Join(errs...))

	if c.doc != nil {
		_ = c.emit(c.summary())
	}
	err := closeTrail(c.trail, receipt, out, nil)
	if c.dir != nil {
		c.dir.close()
	}
	out = c.downgrade(out, reasonNoEvidence, err)
	journalErr, mirrorErr := c.evidence.failures()
	out = c.downgrade(out, reasonNoEvidence, journalErr)
	out = c.downgrade(out, reasonNoEvidence, mirrorErr)
	out.RunID = c.id
	return out
}

// endCell ends every process of the cell and everything that watched it. It
// may be called again.
func (c *run) endCell() error {
	var errs []error
	if c.cell != nil {
		c.cell.Kill()
		select {
		case <-c.cell.Done():
		case <-time.After(killTimeout):
			errs = append(errs, fmt.Errorf("the cell is still there %v after it was killed", killTimeout))
			c.cell = nil // closing it would wait as well
		}
	}
	if c.streams != nil {
		errs = append(errs, c.streams.drain())
		c.streams = nil
	}
	if c.network != nil {
		errs = append(errs, c.network.Close())
		c.network = nil
	}
	for _, resolver := range c.resolvers {
		errs = append(errs, resolver.Close())
	}
	c.resolvers = nil
	if c.cell != nil {
		errs = append(errs, c.cell.Close())
		c.cell = nil
	}
	// The last counts are events too, and none may follow them.
	errs = append(errs, c.observations.Close())
	return errors.Join(errs...)
}

// revoke gives the secrets back.
func (c *run) revoke(ctx context.Context) error {
	if c.lease == nil {
		return nil
	}
	c.lease.Wipe()
	revoked := event.IdentityRevoked{KeyNames: c.plan.Secrets, LeaseID: c.lease.ID}
	err := c.s.Broker.Revoke(ctx, c.lease.ID)
	if err != nil {
		err = fmt.Errorf("revoke secrets: %w", err)
		revoked.Error = "the broker could not revoke the lease"
	}
	c.lease = nil
	return errors.Join(err, c.emit(revoked))
}

// downgrade turns the outcome of a run whose end went wrong into one that says
// so. A refusal keeps its code: it is the cause, and nothing ran.
func (c *run) downgrade(out Outcome, reason string, err error) Outcome {
	if err == nil {
		return out
	}
	if c.started == 0 && out.Code != 0 {
		out.Detail += "; " + err.Error()
		return out
	}
	if out.Code == ExitIncomplete {
		return out
	}
	detail := err.Error()
	if out.Detail != "" {
		detail = out.Detail + "; " + detail
	}
	return Outcome{Code: ExitIncomplete, Source: FromSupervisor, Reason: reason, Detail: detail}
}

func (c *run) summary() event.ComplianceSummary {
	spec := &c.doc.Spec
	sum := event.ComplianceSummary{
		LifetimeTTLSeconds: spec.Lifetime.TTLSeconds,
		EgressRuleCount:    len(spec.Authority.EgressRules),
		Placement:          placement(c.doc),
		CommandExitCode:    c.commandExit,
	}
	if c.plan != nil {
		sum.SecretDeliveryMode = string(c.plan.Delivery)
	}
	if p := spec.Policy; p != nil {
		sum.PolicyPackID, sum.PolicyPackVersion = p.PackID, p.PackVersion
	}
	if k := spec.Correlation; k != nil {
		converted := event.Correlation(*k)
		sum.Correlation = &converted
	}
	return sum
}

func placement(doc *cell.Document) *event.Placement {
	if doc.Spec.Placement == nil {
		return nil
	}
	converted := event.Placement(*doc.Spec.Placement)
	return &converted
}

func controls(r plan.Report) map[string]event.Control {
	out := make(map[string]event.Control, len(r))
	for name, control := range r {
		out[name] = event.Control{State: string(control.State), By: control.By}
	}
	return out
}

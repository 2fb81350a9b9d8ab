package supervisor

import (
	"errors"
	"fmt"
	"strings"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/boottime"
	"cellos.io/cellos/ledger"
	"cellos.io/cellos/plan"
)

// admit compiles the document and decides whether it may and can run here. The
// host is still untouched.
func (c *run) admit() error {
	p, refusals := plan.Compile(c.doc, c.s.Facts(c.doc))
	c.plan = p
	violations := c.s.Operator.Decide(c.doc)

	decided := event.AdmissionDecided{Verdict: event.VerdictAllowed, SpecHash: c.specHash, Violations: []event.Violation{}}
	for _, v := range violations {
		decided.Violations = append(decided.Violations, event.Violation{Path: v.Path, Rule: v.Rule})
	}
	for _, f := range refusals {
		decided.Violations = append(decided.Violations, event.Violation{Path: f.Path, Rule: f.Reason, Remedy: f.Remedy})
	}
	for _, f := range p.Warnings {
		decided.Warnings = append(decided.Warnings, event.Violation{Path: f.Path, Rule: f.Reason, Remedy: f.Remedy})
		c.s.Console.Warn(f.String())
	}
	if len(decided.Violations) > 0 {
		decided.Verdict = event.VerdictDenied
	}
	if err := c.emit(decided); err != nil {
		return err
	}
	switch {
	case len(violations) > 0:
		return refuse(ExitDenied, reasonDenied, errors.New("denied by policy:\n"+joinLines(violations)))
	case len(refusals) > 0:
		return refuse(ExitCannot, reasonCannot, errors.New("cannot be enforced here, so nothing was run:\n"+joinLines(refusals)))
	}
	c.accepted = boottime.Now()
	c.deadline = c.accepted + min(p.Time.TTL, 1<<62-c.accepted)
	c.s.Console.Step("admission", fmt.Sprintf("admitted %s as run %s", p.SpecID, c.id))
	return nil
}

func joinLines[T fmt.Stringer](items []T) string {
	lines := make([]string, len(items))
	for i, item := range items {
		lines[i] = item.String()
	}
	return strings.Join(lines, "\n")
}

// prepare makes the runtime directory of the run, with the ledger in it. The
// directory is named after the run, which the host chain knows already, so a
// clean-up finds it whatever happens.
func (c *run) prepare() error {
	dir, err := createRunDir(c.s.RuntimeDir, c.id)
	if err != nil {
		return err
	}
	c.dir = dir
	l, err := ledger.Create(dir.path)
	if err != nil {
		return err
	}
	c.ledger = l
	entry, err := l.Intend(kindRunDir, dir.path)
	if err != nil {
		return err
	}
	// A clean-up with another state directory must know that the trail of
	// this run is not in its own.
	return l.Bind(entry, map[string]string{attrState: c.s.Journal.StateDir(), attrBoot: bootID()})
}

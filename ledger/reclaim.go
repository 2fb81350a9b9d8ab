package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Method is how a check found that a resource is gone.
type Method string

// The methods of a check.
const (
	ByPidfd  Method = "pidfd"  // a pidfd is readable, or the process no longer exists
	ByPath   Method = "path"   // the path does not exist
	ByCgroup Method = "cgroup" // the cgroup does not exist or holds no process
	ByNSScan Method = "nsScan" // no process is a member of the namespace
	ByLock   Method = "lock"   // the lock its owner held for life could be taken
)

// A Check is the proof that a resource is gone.
type Check struct {
	Method Method `json:"method"`
	// Inferred is true where absence follows from something else and was
	// not itself observed.
	Inferred bool `json:"-"`
}

// Strength is the word that the destruction receipt has for Inferred.
func (c Check) Strength() string {
	if c.Inferred {
		return "inferred"
	}
	return "verified"
}

// A Remover removes one kind of resource and proves that it is gone. Removing
// what does not exist succeeds. It must be repeatable after a kill at any
// point, and must honour the deadline of its context.
type Remover func(ctx context.Context, e Entry) (Check, error)

// A Line of the receipt is one resource and what became of it.
type Line struct {
	Entry
	Check Check
	// Err is why the resource may still exist; nil means that it is gone.
	Err error
}

// Receipt says for every resource of a run whether it is gone, in the order of
// removal.
type Receipt []Line

// Remaining are the lines whose resource may still exist.
func (r Receipt) Remaining() []Line {
	return slices.DeleteFunc(slices.Clone(r), func(l Line) bool { return l.Err == nil })
}

// Err joins the errors of all remaining resources, each under its name.
func (r Receipt) Err() error {
	var errs []error
	for _, l := range r.Remaining() {
		errs = append(errs, fmt.Errorf("%s %s: %w", l.Kind, l.Key, l.Err))
	}
	return errors.Join(errs...)
}

// Reclaim removes everything on the list, last created first, tries every
// entry whatever happens to the others, and strikes out what is proven gone.
// The end of a run and the clean-up after a crash both are this function. The
// context should carry a deadline and must not be the one that a cancelled run
// was under.
func Reclaim(ctx context.Context, l *Ledger, removers map[Kind]Remover) Receipt {
	var receipt Receipt
	for _, e := range slices.Backward(l.Pending()) {
		line := Line{Entry: e}
		if remove, ok := removers[e.Kind]; ok {
			line.Check, line.Err = remove(ctx, e)
		} else {
			line.Err = fmt.Errorf("no way to remove a %q is known to this build", e.Kind)
		}
		if line.Err == nil {
			// A strike that cannot be written only means that the next
			// clean-up checks again.
			_ = l.Strike(e.Seq)
		}
		receipt = append(receipt, line)
	}
	return receipt
}

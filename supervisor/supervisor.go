// Package supervisor runs a cell from its document to the proof that nothing
// of it is left. Run is the lifecycle; what it needs from elsewhere it asks of
// the ports below. Collect finishes the runs of supervisors that were killed,
// with the same steps.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/egress"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/policy"
	"cellos.io/cellos/secret"
)

// Backend makes cells. The conformance suite is package backendtest.
type Backend interface {
	Name() string
	// Resources are what a cell of this plan will have on the host that does
	// not go with its PID 1.
	Resources(p *plan.Plan) ([]backend.Resource, error)
	// Boot creates a cell with its namespaces and its PID 1, which waits for
	// Start: nothing of the workload has run when it returns. The cell dies
	// with the calling thread (PR_SET_PDEATHSIG, prctl(2)), which therefore
	// must be locked and live as long as the cell. lock is held by PID 1 for
	// life and by nobody else once the caller has closed its own copy.
	Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (Cell, error)
}

// Cell is a cell that was booted.
type Cell interface {
	// PID is PID 1 as the host sees it.
	PID() int
	// ListenUDP, ListenTCP and Dial make sockets in the cell's network.
	ListenUDP(netip.AddrPort) (*net.UDPConn, error)
	ListenTCP(netip.AddrPort) (*net.TCPListener, error)
	Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
	// Socket makes a plain socket there.
	egress.Cell
	// Deliver writes files that the workload alone may read where the plan
	// has a place for them, before Start.
	Deliver(ctx context.Context, files []backend.File) error
	// Start runs the workload with exactly this environment and returns its
	// pid in the cell. PID 1 ends the cell by itself at deadline, which is
	// in nanoseconds of the boot clock. The error is a *backend.SpawnError
	// if the program is at fault.
	Start(ctx context.Context, env []string, deadline int64) (pid int, err error)
	// Signal sends a signal to the workload alone.
	Signal(syscall.Signal) error
	// Wait waits for the workload to end, or for PID 1.
	Wait() (backend.Exit, error)
	// Kill ends every process of the cell; Done is closed when none is left.
	Kill()
	Done() <-chan struct{}
	Close() error
}

// Broker resolves secrets. The conformance suite is package secrettest.
type Broker interface {
	Name() string
	// Resolve returns all of the named secrets or none.
	Resolve(ctx context.Context, cell string, names []string) (*secret.Lease, error)
	// Revoke ends a lease; one that is unknown or has ended is no error.
	Revoke(ctx context.Context, id string) error
}

// Supervisor is what every run of this process shares.
type Supervisor struct {
	Backend  Backend
	Broker   Broker
	Journal  *journal.Journal
	Operator policy.Operator
	// Facts are what the plan of a document depends on besides it.
	Facts      func(*cell.Document) plan.Host
	RuntimeDir string
	Console    *console.Console

	Stdin          io.Reader // nil: the workload reads /dev/null
	Stdout, Stderr io.Writer

	// Interrupts ask a run to end: the first politely, the second at once.
	Interrupts <-chan os.Signal
}

// concludeTimeout bounds the removal of everything that a run created.
const concludeTimeout = 30 * time.Second

// Run is the life of a cell. Whatever happens, the cell is gone when it
// returns, or the trail says what is not. It must be called on a locked
// thread that lives as long as the process.
func (s *Supervisor) Run(ctx context.Context, doc *cell.Document) (out Outcome) {
	c, err := s.open(doc.Spec.ID, doc.SpecHash(), doc)
	if err != nil {
		return failed("open", err) // nothing was created
	}
	out = failed("run", errors.New("the supervisor panicked")) // unless it returns
	// Every path ends here: destroy, revoke, destroyed, evidence. A cancelled
	// run must clean up as well, so this is not under its context.
	defer func() { out = c.conclude(context.WithoutCancel(ctx), out) }()
	ctx = c.untilInterrupted(ctx)
	defer c.stopWatching()

	if err := c.admit(); err != nil {
		return failed("admission", err)
	}
	// The document is accepted: its lifetime runs. From here on the ledger
	// names each thing before the kernel has it.
	ctx, cancel := c.withinLifetime(ctx)
	defer cancel()
	if err := c.prepare(); err != nil {
		return failed("prepare", err)
	}
	if c.plan.Process == nil {
		return Outcome{Source: FromSupervisor, Reason: reasonNothingToRun}
	}
	if err := c.openNetwork(ctx); err != nil {
		return failed("network", stopped(ctx, err))
	}
	// The cell exists, its resolver answers, and nothing runs in it.
	if err := c.fetchSecrets(ctx); err != nil {
		return failed("secrets", stopped(ctx, err))
	}
	if err := c.start(ctx); err != nil {
		return failed("start", stopped(ctx, err))
	}
	// Hostile code runs: nothing that the cell says is trusted below.
	return c.wait(ctx)
}

// Reject records that a document with a valid id was invalid, and why.
func (s *Supervisor) Reject(ctx context.Context, id string, errs cell.Errors) Outcome {
	out := Outcome{
		Code: ExitInvalidSpec, Source: FromSupervisor, Reason: reasonInvalidSpec,
		Detail: fmt.Sprintf("%d errors in the document, nothing was run", len(errs)),
	}
	c, err := s.open(id, "", nil)
	if err != nil {
		return failed("open", err)
	}
	violations := make([]event.Violation, 0, len(errs))
	for _, e := range errs {
		violations = append(violations, event.Violation{Path: e.Path, Rule: e.Rule})
	}
	c.emit(event.AdmissionDecided{Verdict: event.VerdictDenied, Violations: violations})
	return c.conclude(ctx, out)
}

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/egress"
	"cellos.io/cellos/egress/dnsproxy"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/boottime"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/ledger"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/secret"
)

// run is one cell on its way through the lifecycle.
type run struct {
	s        *Supervisor
	doc      *cell.Document // nil if it was invalid
	specHash string
	id       string // also the id of its chain and of its runtime directory
	plan     *plan.Plan

	trail        *journal.Run
	observations *journal.Aggregator
	evidence     evidence

	accepted, deadline time.Duration // of the boot clock
	started            time.Duration

	dir     *runDir
	ledger  *ledger.Ledger
	streams *streams
	cell    Cell
	network *egress.Network // of a cell with a relay
	names   *egress.Names
	// resolvers are the resolver of the cell and those that answer in the
	// place of declared servers.
	resolvers []*dnsproxy.Proxy
	lease     *secret.Lease

	commandExit *int

	toldMu sync.Mutex
	told   map[string]struct{} // denials that a person was shown

	interrupt     chan syscall.Signal // the first interrupt
	urgent        chan struct{}       // closed at the second
	watching      chan struct{}
	stopWatchOnce sync.Once
}

// open begins the trail of a run. Nothing else is created.
func (s *Supervisor) open(specID, specHash string, doc *cell.Document) (*run, error) {
	c := &run{
		s: s, doc: doc, specHash: specHash,
		id:        event.NewID(time.Now()),
		evidence:  evidence{lost: make(chan struct{})},
		interrupt: make(chan syscall.Signal, 1),
		urgent:    make(chan struct{}),
		watching:  make(chan struct{}),
		told:      make(map[string]struct{}),
	}
	trail, err := s.Journal.OpenRun(journal.RunSpec{
		Scope:    event.Scope{SpecID: specID, CellID: cellID(c.id), RunID: c.id},
		SpecHash: specHash, RuntimeDir: s.RuntimeDir, MaxBytes: eventsMaxBytes(doc),
	})
	if err != nil {
		return nil, noRoom(err)
	}
	c.trail = trail
	c.observations = trail.Aggregate()
	return c, nil
}

// eventsMaxBytes is the event budget of a document, which its trail has from
// the first event on.
func eventsMaxBytes(doc *cell.Document) int64 {
	if doc == nil {
		return plan.DefaultEventsMaxBytes
	}
	return plan.EventsMaxBytes(doc)
}

// cellID names the cell of a run. A run has one cell.
func cellID(runID string) string { return "cell-" + runID[len(runID)-12:] }

// evidence is whether the trail of a run is whole.
type evidence struct {
	mu     sync.Mutex
	err    error         // the journal could not be written: nothing may run
	mirror error         // a copy lacks what the journal has
	lost   chan struct{} // closed with err
}

func (e *evidence) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
		close(e.lost)
	}
}

func (e *evidence) failMirror(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mirror == nil {
		e.mirror = err
	}
}

// failures are the first failure of the journal and of a mirror.
func (e *evidence) failures() (journal, mirror error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err, e.mirror
}

// emit appends an event to the trail. An error means that the run is over; the
// one who waits for the workload learns of it as well.
func (c *run) emit(d event.Data) error {
	_, err := c.trail.Emit(d)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrMirror):
		c.evidence.failMirror(err)
		return nil
	}
	return c.lose(err)
}

// lose ends the run because its trail cannot be continued.
func (c *run) lose(err error) error {
	err = incomplete(fmt.Errorf("the trail cannot be continued: %w", err))
	c.evidence.fail(err)
	return err
}

// incomplete is the error of a run whose evidence is not whole.
func incomplete(err error) error {
	reason := reasonNoEvidence
	if errors.Is(err, journal.ErrBudget) {
		reason = reasonEventsBudget
	}
	return refuse(ExitIncomplete, reason, noRoom(err))
}

// noRoom adds what to do to the error of a journal that has no room.
func noRoom(err error) error {
	switch {
	case errors.Is(err, journal.ErrBudget):
		return fmt.Errorf("%w; raise it, or let the cell ask for less", err)
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrNoReserve):
		return fmt.Errorf("%w; free space there, or set CELLOS_STATE_DIR to a directory on another disk", err)
	}
	return err
}

// observe counts a decision about the workload. What is decided may take
// effect only if it returns nil: the trail then has it.
func (c *run) observe(key journal.Key, data func() event.Counted) error {
	if err := c.observations.Observe(key, data); err != nil {
		return c.lose(err)
	}
	return nil
}

// untilInterrupted returns a context that ends at the first interrupt, and
// keeps listening for the second.
func (c *run) untilInterrupted(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		defer cancel(nil)
		for n := 0; ; n++ {
			select {
			case sig := <-c.s.Interrupts:
				signal, _ := sig.(syscall.Signal)
				switch n {
				case 0:
					c.s.Console.Step("interrupt", fmt.Sprintf("%v: ending the cell; again to kill it at once", sig))
					c.interrupt <- signal
					cancel(interruption(signal))
				case 1:
					close(c.urgent)
				}
			case <-c.watching:
				return
			}
		}
	}()
	return ctx
}

// stopWatching leaves interrupts to whatever comes after the run.
func (c *run) stopWatching() { c.stopWatchOnce.Do(func() { close(c.watching) }) }

// interruption is the error of a run that was asked to end.
func interruption(sig syscall.Signal) error {
	return refuse(exitSignalBase+int(sig), reasonInterrupted, fmt.Errorf("interrupted by %v", sig))
}

// fetchSecrets asks the broker for what the document declares and nothing else.
func (c *run) fetchSecrets(ctx context.Context) error {
	names := c.plan.Secrets
	if len(names) == 0 {
		return nil
	}
	lease, err := c.s.Broker.Resolve(ctx, c.id, names)
	if err != nil {
		reason := errors.New("a declared secret could not be had")
		return c.withoutSecrets(reason, err)
	}
	c.lease = lease
	if c.plan.Delivery == cell.DeliverFile {
		if err := c.deliver(ctx); err != nil {
			return c.withoutSecrets(errors.New("the secrets could not be written"), err)
		}
	}
	if err := c.emit(event.IdentityMaterialized{KeyNames: names, Delivery: string(c.plan.Delivery), LeaseID: lease.ID}); err != nil {
		return err
	}
	c.s.Console.Step("secrets", fmt.Sprintf("%d secrets from broker %s", len(names), c.s.Broker.Name()))
	return nil
}

// withoutSecrets ends a run that cannot have its secrets. The reason is for
// the trail, which holds nothing that a broker said.
func (c *run) withoutSecrets(reason, err error) error {
	if emitErr := c.emit(event.IdentityFailed{KeyNames: c.plan.Secrets, Delivery: string(c.plan.Delivery), Reason: reason.Error()}); emitErr != nil {
		return emitErr
	}
	return refuse(ExitSecret, reasonSecret, err)
}

// deliver writes the secrets into files of the cell.
func (c *run) deliver(ctx context.Context) error {
	files := make([]backend.File, len(c.plan.Secrets))
	for i, name := range c.plan.Secrets {
		files[i] = backend.File{Name: name, Content: c.lease.Values[name].Reveal()}
	}
	return c.cell.Deliver(ctx, files)
}

// start runs the workload. Its trail is on disk before its first instruction.
func (c *run) start(ctx context.Context) error {
	started := event.LifecycleStarted{
		Backend: c.plan.Backend, Profile: string(c.plan.Profile),
		Isolation: controls(c.plan.Isolation), Namespaces: c.plan.Unshare.Names(),
		SpecHash: c.specHash, Placement: placement(c.doc),
	}
	if c.plan.Network != nil {
		started.NetworkRulesDigest = c.plan.Network.Digest
	}
	if err := c.emit(started); err != nil {
		return err
	}
	if err := c.trail.Sync(); err != nil {
		return refuse(ExitIncomplete, reasonNoEvidence, fmt.Errorf("the trail cannot be made durable: %w", err))
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.started = boottime.Now()
	// An interrupt from here on is for wait, which asks the workload first.
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.deadline-c.started)
	defer cancel()
	pid, err := c.cell.Start(starting, c.environment(), c.deadline.Nanoseconds())
	if errors.Is(err, backend.ErrGone) || errors.Is(err, context.DeadlineExceeded) {
		return nil // its time was over, or PID 1 was killed: wait tells which
	}
	if err != nil {
		emitErr := c.emit(event.CommandCompleted{Argv: c.plan.Process.Argv, SpawnError: err.Error()})
		return errors.Join(notRun(c.plan.Process, err), emitErr)
	}
	c.s.Console.Step("run", fmt.Sprintf("running %s", c.plan.Process.Argv[0]))
	// It runs: without this record wait ends it, and says how it ended.
	_ = c.emit(event.ProcessSpawned{Program: c.plan.Process.Argv[0], Argc: len(c.plan.Process.Argv), PID: pid})
	return nil
}

// environment is the whole environment of the workload, as execve(2) takes it.
func (c *run) environment() []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(c.plan.Process.Vars)) {
		env = append(env, name+"="+c.plan.Process.Vars[name])
	}
	if c.plan.Delivery != cell.DeliverEnv {
		return env
	}
	for _, name := range c.plan.Secrets {
		env = append(env, name+"="+string(c.lease.Values[name].Reveal()))
	}
	return env
}

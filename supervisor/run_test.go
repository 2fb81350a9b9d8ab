package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/secret"
)

// bench is a supervisor whose backend is a script.
type bench struct {
	*Supervisor
	state      string
	interrupts chan os.Signal
	boot       func(context.Context) error
	resolve    func(context.Context) error
	cell       *fakeCell
}

func newBench(t *testing.T) *bench {
	t.Helper()
	signer, err := event.NewEd25519Signer("test", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{state: t.TempDir(), interrupts: make(chan os.Signal, 2)}
	j, err := journal.Open(journal.Options{Dir: b.state, Host: "host", Instance: "1", Signer: signer, Sync: journal.SyncOff})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	b.Supervisor = &Supervisor{
		Backend: fakeBackend{b}, Broker: fakeBroker{b}, Journal: j,
		Facts: func(*cell.Document) plan.Host {
			return plan.Host{Profile: plan.Portable, Backend: "fake", TestDouble: true, Isolation: plan.Report{}}
		},
		RuntimeDir: t.TempDir(), Console: console.New(io.Discard, console.Options{}),
		Stdout: io.Discard, Stderr: io.Discard, Interrupts: b.interrupts,
	}
	return b
}

// run runs a document with these members of its spec, and returns the trail.
func (b *bench) run(t *testing.T, members string, change ...func(*cell.Spec)) (Outcome, string) {
	t.Helper()
	doc, err := cell.Parse("cell.json", []byte(`{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{"id":"c","run":{"argv":["true"]`+members+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&doc.Spec)
	}
	out := b.Run(t.Context(), doc)
	return out, b.trail(t)
}

// trail is the only run of the journal.
func (b *bench) trail(t *testing.T) string {
	t.Helper()
	paths, err := journal.RunPaths(b.state)
	if err != nil || len(paths) != 1 {
		t.Fatalf("runs %v, %v", paths, err)
	}
	trail, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(trail)
}

type fakeBackend struct{ b *bench }

func (fakeBackend) Name() string { return "fake" }

func (fakeBackend) Resources(*plan.Plan) ([]backend.Resource, error) { return nil, nil }

func (f fakeBackend) Boot(ctx context.Context, _ *plan.Plan, _ [3]*os.File, _ *os.File) (Cell, error) {
	if f.b.boot != nil {
		if err := f.b.boot(ctx); err != nil {
			return nil, err
		}
	}
	f.b.cell = &fakeCell{killed: make(chan struct{})}
	return f.b.cell, nil
}

// A fakeCell runs until it is killed. A process stands for its PID 1.
type fakeCell struct {
	Cell
	killed  chan struct{}
	started bool
	pid     int
}

func (c *fakeCell) PID() int {
	if c.pid == 0 {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			panic(err)
		}
		c.pid = p.Pid
		go func() {
			<-c.killed
			_ = p.Kill()
			_, _ = p.Wait()
		}()
	}
	return c.pid
}

func (c *fakeCell) Start(ctx context.Context, _ []string, _ int64) (int, error) {
	c.started = true
	return 2, ctx.Err()
}

func (c *fakeCell) Wait() (backend.Exit, error) {
	<-c.killed
	return backend.Exit{Signal: syscall.SIGKILL}, nil
}

func (*fakeCell) Signal(syscall.Signal) error { return nil }
func (c *fakeCell) Done() <-chan struct{}     { return c.killed }
func (c *fakeCell) Close() error              { c.Kill(); return nil }

func (c *fakeCell) Kill() {
	select {
	case <-c.killed:
	default:
		close(c.killed)
	}
}

type fakeBroker struct{ b *bench }

func (fakeBroker) Name() string                         { return "fake" }
func (fakeBroker) Revoke(context.Context, string) error { return nil }

func (f fakeBroker) Resolve(ctx context.Context, _ string, _ []string) (*secret.Lease, error) {
	if f.b.resolve != nil {
		if err := f.b.resolve(ctx); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	return &secret.Lease{}, nil
}

// hang is a step that does not end by itself.
func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

const aMinute = `},"lifetime":{"ttlSeconds":60},"authority":{"secretRefs":["A"]}`

// An interrupt before the workload runs is no error of ours.
func TestInterruptBeforeTheStart(t *testing.T) {
	for step, at := range map[string]func(*bench, func(context.Context) error){
		"boot":    func(b *bench, f func(context.Context) error) { b.boot = f },
		"secrets": func(b *bench, f func(context.Context) error) { b.resolve = f },
	} {
		b := newBench(t)
		at(b, func(ctx context.Context) error {
			b.interrupts <- syscall.SIGINT
			return hang(ctx)
		})
		out, trail := b.run(t, aMinute)
		if out.Code != 130 || out.Reason != reasonInterrupted {
			t.Errorf("%s: %+v, want 130", step, out)
		}
		if !strings.Contains(trail, `"reason":"interrupted"`) {
			t.Errorf("%s: the trail does not say so:\n%s", step, trail)
		}
	}
}

// The lifetime counts from the acceptance of the document, whatever takes the
// time.
func TestLifetimeBeforeTheStart(t *testing.T) {
	b := newBench(t)
	b.resolve = hang
	began := time.Now()
	out, _ := b.run(t, `},"lifetime":{"ttlSeconds":1},"authority":{"secretRefs":["A"]}`)
	if out.Code != ExitTimeout || out.Reason != reasonTTL || time.Since(began) < time.Second {
		t.Errorf("%+v after %v, want 124 after a second", out, time.Since(began))
	}
	if b.cell.started {
		t.Error("the workload was started after its lifetime")
	}
}

// A trail that cannot be continued ends a run wherever it is: what did not run
// is not said to have run, and what did has an end.
func TestBudgetEndsAtEveryEvent(t *testing.T) {
	ran := 0
	for budget := int64(400); budget < 4000; budget += 100 {
		b := newBench(t)
		time.AfterFunc(time.Second, func() { b.interrupts <- syscall.SIGINT; b.interrupts <- syscall.SIGINT })
		// Smaller than a document may say.
		out, trail := b.run(t, `,"limits":{"eventsMaxBytes":262144,"gracefulShutdownSeconds":0}},"lifetime":{"ttlSeconds":60}`,
			func(spec *cell.Spec) { *spec.Run.Limits.EventsMaxBytes = budget })
		started := b.cell != nil && b.cell.started
		want := ExitInternal
		if started {
			ran++
			want = ExitIncomplete
		}
		if out.Reason == reasonInterrupted {
			break // all of it fits
		}
		if out.Code != want || out.Reason != reasonEventsBudget {
			t.Errorf("budget %d, started %v: %+v, want %d", budget, started, out, want)
		}
		if got := strings.Contains(trail, "command.v1.completed"); got != started {
			t.Errorf("budget %d, started %v: command.v1.completed %v", budget, started, got)
		}
	}
	if ran == 0 {
		t.Error("no budget ended after the start")
	}
}

// A panic is no success.
func TestPanicIsNoSuccess(t *testing.T) {
	b := newBench(t)
	b.boot = func(context.Context) error { panic("bug") }
	func() {
		defer func() { _ = recover() }()
		b.run(t, aMinute)
	}()
	if trail := b.trail(t); !strings.Contains(trail, `"outcome":"failed"`) || !strings.Contains(trail, "evidence_bundle") {
		t.Errorf("the trail of a supervisor that panicked:\n%s", trail)
	}
}

// A document that is invalid but says whose it is leaves a trail that says why
// it was refused.
func TestAnInvalidDocumentIsOnRecord(t *testing.T) {
	b := newBench(t)
	out := b.Reject(t.Context(), "c", cell.Errors{{Path: "spec.lifetime", Rule: "is required"}})
	if out.Code != ExitInvalidSpec || out.RunID == "" {
		t.Errorf("%+v, want 120 and a run", out)
	}
	trail := b.trail(t)
	first, _, _ := strings.Cut(trail, "\n")
	for _, want := range []string{"admission.v1.decided", `"verdict":"denied"`, "spec.lifetime", "is required"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first record does not have %s: %s", want, first)
		}
	}
	if !strings.Contains(trail, "evidence_bundle.v1.emitted") {
		t.Errorf("the trail is not closed:\n%s", trail)
	}
}

package journal

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellos.io/cellos/event"
)

// A recorder is the journal of an aggregator under test.
type recorder struct {
	mu      sync.Mutex
	events  []event.DNSQuery
	fail    error // what the journal answers
	mirror  bool  // the mirror fails, the journal does not
	closing []event.DNSQuery
	block   chan struct{} // if set, appending waits for it
}

func (r *recorder) emit(d event.Data) error {
	if r.block != nil {
		<-r.block
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.events = append(r.events, d.(event.DNSQuery))
	if r.mirror {
		return fmt.Errorf("%w: wire cut", ErrMirror)
	}
	return nil
}

func (r *recorder) emitClosing(d event.Data) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = append(r.closing, d.(event.DNSQuery))
	return nil
}

// list is what was appended so far.
func (r *recorder) list() []event.DNSQuery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.DNSQuery(nil), r.events...)
}

// remembered is the number of keys that a holds.
func (a *Aggregator) remembered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.order) != len(a.entries) {
		return -1
	}
	return len(a.entries)
}

// total is the sum of all counts.
func (r *recorder) total() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range [][]event.DNSQuery{r.events, r.closing} {
		for _, q := range list {
			n += q.Count
		}
	}
	return n
}

func observe(a *Aggregator, name, decision string) error {
	q := event.DNSQuery{QueryName: name, QueryType: "A", Decision: decision, ReasonCode: "r", Transport: "udp"}
	return a.Observe(Key{Type: q.EventType(), Name: name, Protocol: "A", Decision: decision, Reason: "r"}, func() event.Counted { return q })
}

func TestAggregatorCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		a := newAggregator(rec.emit, rec.emitClosing)
		start := time.Now()
		if err := observe(a, "x", event.Allow); err != nil || len(rec.list()) != 1 || rec.list()[0].Count != 1 {
			t.Fatalf("the first is on record at once: %v, %+v", err, rec.list())
		}
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			if err := observe(a, "x", event.Allow); err != nil {
				t.Fatal(err)
			}
		}
		if len(rec.list()) != 1 {
			t.Errorf("repeats are events of their own: %+v", rec.list())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(rec.list()) != 2 {
			t.Fatalf("after a second: %+v", rec.list())
		}
		got := rec.list()[1]
		if got.Count != 5 || !got.FirstTime.Equal(start.Add(100*time.Millisecond)) || !got.LastTime.Equal(start.Add(500*time.Millisecond)) || got.QueryName != "x" {
			t.Errorf("got %+v", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(rec.list()) != 2 {
			t.Errorf("an event without an observation: %+v", rec.list()[2:])
		}
		observe(a, "x", event.Allow)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if rec.total() != 7 || len(rec.list()) != 3 {
			t.Errorf("drained: %+v", rec.list())
		}
		if err := observe(a, "x", event.Allow); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Two that observe the same new key both wait until it is on record.
func TestAggregatorConcurrentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{block: make(chan struct{})}
		a := newAggregator(rec.emit, rec.emitClosing)
		returned := make(chan error, 10)
		for range cap(returned) {
			go func() { returned <- observe(a, "x", event.Deny) }()
		}
		synctest.Wait()
		if len(returned) > 0 {
			t.Errorf("%d did not wait", len(returned))
		}
		close(rec.block)
		for range cap(returned) {
			if err := <-returned; err != nil {
				t.Error(err)
			}
		}
		if err := a.Close(); err != nil || rec.total() != 10 || len(rec.list()) != 2 {
			t.Errorf("%v, %+v", err, rec.list())
		}
	})
}

func TestAggregatorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		a := newAggregator(rec.emit, rec.emitClosing)
		const names = 5000
		for i := range names {
			if err := observe(a, fmt.Sprintf("n%d", i), event.Deny); err != nil {
				t.Fatal(err)
			}
		}
		if keys := a.remembered(); keys != maxKeys+1 || len(rec.list()) != maxKeys+1 {
			t.Errorf("%d keys, %d events", keys, len(rec.list()))
		}
		rest := rec.list()[maxKeys]
		if rest.ReasonCode != event.ReasonRateLimited || rest.Decision != event.Deny || rest.QueryName != "" {
			t.Errorf("got %+v", rest)
		}
		// What is allowed is not lost among what is denied.
		if err := observe(a, "allowed", event.Allow); err != nil || rec.list()[maxKeys+1].Decision != event.Allow {
			t.Errorf("%v, %+v", err, rec.list()[maxKeys+1])
		}
		// A minute later all of them are forgotten, and names have room again.
		time.Sleep(62 * time.Second)
		synctest.Wait()
		if keys := a.remembered(); keys != 0 || a.rest != 0 {
			t.Errorf("%d keys are remembered", keys)
		}
		if err := observe(a, "again", event.Deny); err != nil || rec.list()[len(rec.list())-1].QueryName != "again" {
			t.Errorf("%v, %+v", err, rec.list()[len(rec.list())-1])
		}
		if err := a.Close(); err != nil || rec.total() != names+2 {
			t.Errorf("%v: counted %d", err, rec.total())
		}
	})
}

// A journal that takes nothing more closes: every observation fails from then
// on, and none goes uncounted.
func TestAggregatorFailsClosed(t *testing.T) {
	for _, at := range []string{"first", "flush"} {
		synctest.Test(t, func(t *testing.T) {
			rec := new(recorder)
			a := newAggregator(rec.emit, rec.emitClosing)
			n := int64(0)
			watch := func(name string) error { n++; return observe(a, name, event.Deny) }
			if err := watch("x"); err != nil {
				t.Fatal(err)
			}
			if err := watch("x"); err != nil {
				t.Fatal(err)
			}
			rec.mu.Lock()
			rec.fail = ErrBudget
			rec.mu.Unlock()
			if at == "first" {
				if err := watch("y"); !errors.Is(err, ErrBudget) {
					t.Errorf("got %v", err)
				}
			} else {
				time.Sleep(2 * time.Second)
				synctest.Wait()
			}
			for _, name := range []string{"x", "y", "z"} {
				if err := watch(name); !errors.Is(err, ErrBudget) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := a.Close(); !errors.Is(err, ErrBudget) {
				t.Errorf("got %v", err)
			}
			if rec.total() != n || len(rec.closing) != 1 || rec.closing[0].ReasonCode != event.ReasonRateLimited {
				t.Errorf("%s: counted %d of %d: %+v", at, rec.total(), n, rec.closing)
			}
		})
	}
}

func TestAggregatorMirrorFailureIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{mirror: true}
		a := newAggregator(rec.emit, rec.emitClosing)
		for range 3 {
			if err := observe(a, "x", event.Allow); err != nil {
				t.Error(err)
			}
		}
		if err := a.Close(); !errors.Is(err, ErrMirror) || rec.total() != 3 {
			t.Errorf("%v, %+v", err, rec.list())
		}
	})
}

// Under load and with real time, every observation is in the journal.
func TestAggregatorCountsInJournal(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, open(t, dir), "run")
	emit(t, r, admitted)
	a := r.Aggregate()
	const workers, each = 8, 3000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := observe(a, fmt.Sprintf("n%d", (i*7+w)%50), event.Allow); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	conclude(t, r)
	wantComplete(t, dir)
	if total := journalCount(t, r.Path()); total != workers*each {
		t.Errorf("counted %d of %d", total, workers*each)
	}
}

// A used-up budget ends a real run with every count in its trail.
func TestAggregatorBudgetInJournal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	s := spec("run")
	s.MaxBytes = 20 << 10
	r, err := j.OpenRun(s)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Aggregate()
	n := int64(0)
	for err == nil {
		n++
		err = observe(a, fmt.Sprintf("n%d", n), event.Deny)
	}
	if !errors.Is(err, ErrBudget) {
		t.Fatal(err)
	}
	if err := a.Close(); !errors.Is(err, ErrBudget) {
		t.Errorf("got %v", err)
	}
	conclude(t, r)
	wantComplete(t, dir)
	if total := journalCount(t, r.Path()); total != n {
		t.Errorf("counted %d of %d", total, n)
	}
}

func BenchmarkObserveRepeat(b *testing.B) {
	a := newAggregator(func(event.Data) error { return nil }, func(event.Data) error { return nil })
	defer a.Close()
	key := Key{Type: (event.DNSQuery{}).EventType(), Name: "api.example.com", Protocol: "A", Decision: event.Allow, Reason: "allowed_by_allowlist"}
	data := func() event.Counted { return event.DNSQuery{} }
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Observe(key, data); err != nil {
			b.Fatal(err)
		}
	}
}

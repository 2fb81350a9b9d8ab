package journal

import (
	"errors"
	"sync"
	"time"

	"cellos.io/cellos/event"
)

const (
	// flushEvery is how often repeats become an event.
	flushEvery = time.Second
	// maxKeys is how many keys are told apart within keyLife.
	maxKeys = 1000
	// keyLife is how long a key is remembered without being observed.
	keyLife = time.Minute
)

// A Key says which observations are the same. It never holds a source port,
// which a workload chooses.
type Key struct {
	Type     string // of the event
	Name     string // or address
	Port     uint16
	Protocol string // also a query type
	Decision string
	Reason   string
}

// An Aggregator turns observations into events: the first of a key at once,
// repeats as one event a second with their count. The counts of the events of
// a key add up to its observations. Beyond maxKeys keys a minute the rest is
// counted under one key for each event type and decision, so that the memory
// and the journal are bounded whatever names a workload makes up.
type Aggregator struct {
	emit        func(event.Data) error
	emitClosing func(event.Data) error

	mu      sync.Mutex
	entries map[Key]*entry
	order   []*entry // by first observation
	rest    int      // entries that stand for the rest
	err     error    // why nothing is appended any more
	mirror  error    // the first failure of a mirror, which loses nothing
	closed  bool

	stop chan struct{}
	done chan struct{}
}

// An entry is one key while it is remembered.
type entry struct {
	key   Key
	data  event.Counted
	ready chan struct{} // closed once the first event is appended, or has failed
	added bool          // that is so
	rest  bool          // it stands for the observations that were too many

	pending int64         // observations that no event has counted
	sum     event.Counted // their quantities, if they add up; else nil
	first   time.Time
	last    time.Time // also of counted ones
}

// Aggregate returns an aggregator that appends to r. It has to be closed
// before the run is.
func (r *Run) Aggregate() *Aggregator {
	return newAggregator(
		func(d event.Data) error { _, err := r.Emit(d); return err },
		func(d event.Data) error { _, err := r.emitClosing(d); return err },
	)
}

func newAggregator(emit, emitClosing func(event.Data) error) *Aggregator {
	a := &Aggregator{
		emit: emit, emitClosing: emitClosing,
		entries: make(map[Key]*entry),
		stop:    make(chan struct{}), done: make(chan struct{}),
	}
	go a.run()
	return a
}

func (a *Aggregator) run() {
	defer close(a.done)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			a.flush(time.Now())
		case <-a.stop:
			return
		}
	}
}

// Observe counts one observation. It returns nil once the journal has an event
// of this key, so the first observation of a key waits for the journal; data
// is called for that one, and for others only if it is event.Summed. After an error the observation must not take
// effect: what it would have allowed is not on record.
func (a *Aggregator) Observe(key Key, data func() event.Counted) error {
	now := time.Now()
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return ErrEnded
	}
	e := a.entries[key]
	if e != nil && e.added {
		e.count(now, data)
		err := a.err
		a.mu.Unlock()
		return err
	}
	if e == nil && len(a.order)-a.rest >= maxKeys {
		key = Key{Type: key.Type, Decision: key.Decision, Reason: event.ReasonRateLimited}
		if e = a.entries[key]; e == nil {
			e = a.add(key, data().Overflow())
			e.rest = true
			a.rest++
			return a.begin(e, now)
		}
	}
	if e == nil {
		return a.begin(a.add(key, data()), now)
	}
	e.count(now, data)
	if e.added {
		err := a.err
		a.mu.Unlock()
		return err
	}
	a.mu.Unlock()
	<-e.ready
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (e *entry) count(now time.Time, data func() event.Counted) {
	if e.pending == 0 {
		e.first = now
	}
	e.pending++
	e.last = now
	if _, ok := e.data.(event.Summed); !ok {
		return
	}
	d := data()
	if e.rest {
		d = d.Overflow()
	}
	e.put(d)
}

// put adds the quantities of what is not counted yet.
func (e *entry) put(data event.Counted) {
	if sum, ok := e.sum.(event.Summed); ok {
		data = sum.Add(data)
	}
	e.sum = data
}

// uncounted is the data of an event about what is pending.
func (e *entry) uncounted() event.Counted {
	if e.sum == nil {
		return e.data
	}
	return e.sum
}

func (a *Aggregator) add(key Key, data event.Counted) *entry {
	e := &entry{key: key, data: data, ready: make(chan struct{})}
	a.entries[key] = e
	a.order = append(a.order, e)
	return e
}

// begin appends the first event of e. It is called with a locked, and unlocks
// it.
func (a *Aggregator) begin(e *entry, now time.Time) error {
	e.last = now
	if err := a.err; err != nil {
		// Counted all the same: the closing says how many were refused so.
		e.count(now, func() event.Counted { return e.data })
		e.added = true
		close(e.ready)
		a.mu.Unlock()
		return err
	}
	a.mu.Unlock()
	err := a.emit(e.data.WithTally(tally(1, now, now)))
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.appended(err) {
		e.count(now, func() event.Counted { return e.data })
	}
	e.added = true
	close(e.ready)
	return a.err
}

// appended reports whether the journal has the event, and keeps the error.
func (a *Aggregator) appended(err error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrMirror):
		if a.mirror == nil {
			a.mirror = err
		}
		return true
	case a.err == nil:
		a.err = err
	}
	return false
}

func tally(n int64, first, last time.Time) event.Tally {
	return event.Tally{Count: n, FirstTime: event.Timestamp{Time: first}, LastTime: event.Timestamp{Time: last}}
}

// flush appends an event for every key with repeats, and forgets idle keys.
func (a *Aggregator) flush(now time.Time) {
	a.mu.Lock()
	entries := append([]*entry(nil), a.order...)
	a.mu.Unlock()
	for _, e := range entries {
		if !a.flushOne(e, a.emit) {
			break
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(now)
}

// flushOne appends the repeats of e. It reports false if the journal takes
// nothing more.
func (a *Aggregator) flushOne(e *entry, emit func(event.Data) error) bool {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return false
	}
	n, first, last, data := e.pending, e.first, e.last, e.uncounted()
	if n == 0 || !e.added {
		a.mu.Unlock()
		return true
	}
	e.pending, e.sum = 0, nil
	a.mu.Unlock()
	err := emit(data.WithTally(tally(n, first, last)))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.appended(err) {
		return true
	}
	e.pending += n
	e.first = first
	if _, ok := data.(event.Summed); ok {
		e.put(data)
	}
	return false
}

// forget drops the keys that were not observed for a while.
func (a *Aggregator) forget(now time.Time) {
	kept := a.order[:0]
	for _, e := range a.order {
		if e.pending == 0 && e.added && now.Sub(e.last) >= keyLife {
			delete(a.entries, e.key)
			if e.rest {
				a.rest--
			}
			continue
		}
		kept = append(kept, e)
	}
	clear(a.order[len(kept):])
	a.order = kept
}

// Close appends what is still counted and ends the aggregator. If the journal
// has refused ordinary events, the counts go into one closing event for each
// event type and decision. The error is the first of all failures.
func (a *Aggregator) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		<-a.done
		return nil
	}
	a.closed = true
	a.mu.Unlock()
	close(a.stop)
	<-a.done

	// From here on nobody adds or forgets an entry.
	entries := a.order
	for _, e := range entries {
		<-e.ready // an observer may still be appending it
	}
	for _, e := range entries {
		if !a.flushOne(e, a.emit) {
			break
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return errors.Join(a.err, a.closeRest(entries), a.mirror)
	}
	return a.mirror
}

// closeRest appends the counts that ordinary events could not take.
func (a *Aggregator) closeRest(entries []*entry) error {
	sums := make(map[Key]*entry)
	var order []*entry
	for _, e := range entries {
		if e.pending == 0 {
			continue
		}
		key := Key{Type: e.key.Type, Decision: e.key.Decision}
		data := e.uncounted().Overflow()
		sum := sums[key]
		if sum == nil {
			sum = &entry{data: data, first: e.first}
			sums[key] = sum
			order = append(order, sum)
		} else if total, ok := sum.data.(event.Summed); ok {
			sum.data = total.Add(data)
		}
		sum.pending += e.pending
		if e.first.Before(sum.first) {
			sum.first = e.first
		}
		if e.last.After(sum.last) {
			sum.last = e.last
		}
	}
	var errs []error
	for _, sum := range order {
		err := a.emitClosing(sum.data.WithTally(tally(sum.pending, sum.first, sum.last)))
		if !errors.Is(err, ErrMirror) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

package dnsproxy

import (
	"sync"
	"time"
)

// maxCoalesced bounds the clients that wait for one and the same question.
const maxCoalesced = 64

// forwarder knows the questions that are in flight. One question is asked once
// however many clients wait for it, which also leaves a forger no more than
// one open question to hit (RFC 5452, section 5).
type forwarder struct {
	tries, max int
	timeout    time.Duration
	ups        []*upstream
	wake       chan struct{} // the list was empty and no longer is

	mu      sync.Mutex
	flights map[string]*flight
	ring    flight // sentinel; next is the one due first
	waiting int    // clients
	closed  bool
}

// flight is one question on its way. Key, wire and kind do not change; the rest
// is guarded by the forwarder's lock.
type flight struct {
	key  string // type and name, as in query
	wire []byte
	kind uint16

	waiters  []waiter
	asked    []*try // by UDP and still open
	tries    int    // so far
	live     int    // tries that may still bring an answer
	tcp      bool   // asked over TCP because UDP did not do
	plain    bool   // asked without EDNS because the upstream dislikes it
	fallback *answer
	own      *answer   // while it waits for that of the other family
	due      time.Time // for the next try
	done     bool

	prev, next *flight
	first      [1]waiter
}

// settled reports whether no more upstream is to be asked. The lock is held.
func (fl *flight) settled() bool { return fl.done || fl.own != nil }

// waiter is one client of a flight.
type waiter struct {
	asker
	client
	verdict Verdict
	began   time.Time
	// then is called instead of an answer to a client, if set.
	then func(w *worker, ans *answer, reason Reason)
}

// try is one question sent over UDP.
type try struct {
	fl    *flight
	s     *socket
	id    uint16
	edns  bool
	upper caseBits
}

// forward asks the upstreams the question that the worker has parsed.
func (w *worker) forward(c *client, v *Verdict, now time.Time) {
	q, f := &w.q, &w.p.fwd
	f.mu.Lock()
	fl := f.flights[string(q.keyBytes())]
	if f.closed {
		f.mu.Unlock()
		w.deny(c, v, ReasonUpstreamFailure, now)
		return
	}
	if f.waiting >= f.max || fl != nil && len(fl.waiters) >= maxCoalesced {
		f.mu.Unlock()
		w.deny(c, v, ReasonRateLimited, now)
		return
	}
	fresh := fl == nil
	if fresh {
		fl = f.begin(string(q.keyBytes()), append([]byte(nil), q.wireName()...), q.kind)
	}
	v.Name = fl.key[2:]
	f.wait(fl, waiter{asker: q.asker, client: *c, verdict: *v, began: now})
	f.mu.Unlock()
	if fresh {
		w.try(fl)
	}
}

// begin adds a flight. The lock is held.
func (f *forwarder) begin(key string, wire []byte, kind uint16) *flight {
	fl := &flight{key: key, wire: wire, kind: kind}
	fl.waiters = fl.first[:0]
	f.flights[key] = fl
	return fl
}

// wait adds a waiter to a flight. The lock is held.
func (f *forwarder) wait(fl *flight, x waiter) {
	fl.waiters = append(fl.waiters, x)
	f.waiting++
}

// try asks the next upstream, and the one after it if that fails at once.
func (w *worker) try(fl *flight) {
	f := &w.p.fwd
	for again := true; again; {
		f.mu.Lock()
		if fl.settled() {
			f.mu.Unlock()
			return
		}
		up := f.ups[fl.tries%len(f.ups)]
		fl.tries++
		fl.live++
		f.schedule(fl)
		f.mu.Unlock()
		if up.Protocol == Do53TCP {
			if up.exchange(fl) {
				return
			}
		} else if w.ask(fl, up) {
			return
		}
		again = w.failed(fl, nil)
	}
}

// ask sends the question of a flight over UDP.
func (w *worker) ask(fl *flight, up *upstream) bool {
	f := &w.p.fwd
	if w.asks == nil {
		w.asks = newSender(headerLen + maxWireName + 4 + optLen)
	}
	// A socket may break between its choice and its use, but not for ever.
	for range socketsPerUpstream {
		s := w.asksTo
		if s == nil || s.up != up || w.asks.full() {
			var err error
			if s, err = up.socket(w); err != nil {
				return false
			}
			w.flushAsks()
		}
		t := &try{fl: fl, s: s, upper: caseBits{w.rng.Uint64(), w.rng.Uint64(), w.rng.Uint64(), w.rng.Uint64()}}
		switch f.open(t, w) {
		case opened:
			w.asksTo = s
			b := appendQuery(w.asks.room(), t.id, fl.wire, &t.upper, fl.kind, t.edns)
			w.asks.add(len(b), nil)
			return true
		case moot:
			return true
		}
		if w.asksTo == s {
			w.flushAsks()
		}
	}
	return false
}

// appendQuery appends a query for an upstream.
func appendQuery(b []byte, id uint16, wire []byte, upper *caseBits, kind uint16, edns bool) []byte {
	if !edns {
		b = appendHeader(b, id, flagRD, 1, 0, 0, 0)
		return appendQuestion(b, wire, upper, kind)
	}
	b = appendHeader(b, id, flagRD, 1, 0, 0, 1)
	b = appendQuestion(b, wire, upper, kind)
	return appendOPT(b, 0, optLen, nil)
}

// openState is what became of a try.
type openState int

const (
	opened openState = iota
	moot             // the flight has ended
	broken           // the socket takes no more questions
)

// open registers a try under an id that its socket does not wait for yet.
func (f *forwarder) open(t *try, w *worker) openState {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.fl.settled() {
		return moot
	}
	if t.s.dead || t.s.retired {
		return broken
	}
	// A socket has far fewer questions open than there are ids.
	for t.id = uint16(w.rng.Uint64()); t.s.pending[t.id] != nil; {
		t.id = uint16(w.rng.Uint64())
	}
	t.edns = !t.fl.plain
	t.s.pending[t.id] = t
	t.fl.asked = append(t.fl.asked, t)
	return opened
}

// find returns the try that a socket waits for under an id.
func (f *forwarder) find(s *socket, id uint16) *try {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.pending[id]
}

// take ends a try, and says whether it was still open.
func (f *forwarder) take(t *try) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.s.pending[t.id] != t {
		return false
	}
	f.forget(t)
	return true
}

// forget strikes a try from its socket.
func (f *forwarder) forget(t *try) {
	delete(t.s.pending, t.id)
	if t.s.retired && len(t.s.pending) == 0 {
		f.close(t.s)
	}
}

func (f *forwarder) close(s *socket) {
	if !s.dead {
		s.dead = true
		s.conn.Close()
	}
}

func (f *forwarder) isDead(s *socket) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.dead
}

// retire lets a socket finish what it waits for, and no more.
func (f *forwarder) retire(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.retired = true
	if len(s.pending) == 0 {
		f.close(s)
	}
}

// schedule puts a flight at the end of the list of those that wait. All wait
// equally long, so the list is in order.
func (f *forwarder) schedule(fl *flight) {
	f.unlink(fl)
	fl.due = time.Now().Add(f.timeout)
	fl.prev, fl.next = f.ring.prev, &f.ring
	fl.prev.next, fl.next.prev = fl, fl
	if f.ring.next == fl {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *forwarder) unlink(fl *flight) {
	if fl.next != nil {
		fl.prev.next, fl.next.prev = fl.next, fl.prev
		fl.prev, fl.next = nil, nil
	}
}

// finish ends a flight and returns the clients that wait for it; none if it has
// ended before.
func (f *forwarder) finish(fl *flight) []waiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.done {
		return nil
	}
	fl.done = true
	f.unlink(fl)
	delete(f.flights, fl.key)
	for _, t := range fl.asked {
		if t.s.pending[t.id] == t {
			f.forget(t)
		}
	}
	f.waiting -= len(fl.waiters)
	return fl.waiters
}

// failed notes that a try of a flight came to nothing, or to the failure that
// ans is, and says whether another should be made at once. If none can bring an
// answer any more the flight ends.
func (w *worker) failed(fl *flight, ans *answer) (again bool) {
	f := &w.p.fwd
	f.mu.Lock()
	if ans != nil {
		fl.fallback = ans
	}
	fl.live--
	switch {
	case fl.settled():
		f.mu.Unlock()
		return false
	case ans != nil && !fl.plain && (ans.rcode == RcodeFormatError || ans.rcode == RcodeNotImplemented):
		// A server from before EDNS (RFC 6891, section 7).
		fl.plain = true
		fl.tries--
		again = true
	case fl.tries < len(f.ups):
		again = true
	}
	live := fl.live
	f.mu.Unlock()
	if !again && live == 0 {
		w.giveUp(fl, ReasonUpstreamFailure)
	}
	return again
}

// nextDue takes the next flight that has waited long enough off the list, and
// says whether it has had its last try.
func (f *forwarder) nextDue(now time.Time) (fl *flight, last bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl = f.ring.next
	if fl == &f.ring || fl.due.After(now) {
		return nil, false
	}
	f.unlink(fl)
	return fl, fl.tries >= f.tries
}

// untilDue returns how long the first flight has still to wait.
func (f *forwarder) untilDue(now time.Time) (wait time.Duration, some bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring.next == &f.ring {
		return 0, false
	}
	return max(0, f.ring.next.due.Sub(now)), true
}

// abort lets no further flight begin, and returns those that have not ended.
func (f *forwarder) abort() []*flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var open []*flight
	for _, fl := range f.flights {
		open = append(open, fl)
	}
	return open
}

package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// resolutionDelay is how long the addresses of one family wait for those of
// the other (RFC 8305, section 3).
const resolutionDelay = 50 * time.Millisecond

// Errors of Resolve.
var (
	ErrNoSuchName = errors.New("no such name")
	ErrNotAllowed = errors.New("the name is not allowed")
)

// Resolve returns the addresses of an allowed name as the upstream gives them,
// from the cache if it has them. None without an error means that the name has
// none. It is no query of a client, so no verdict is recorded.
func (p *Proxy) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	if _, ok := p.names.match([]byte(name)); !ok || notNormal(name) != "" {
		return nil, ErrNotAllowed
	}
	type result struct {
		ans    *answer
		reason Reason
	}
	kinds := [...]uint16{typeAAAA, typeA}
	results := make(chan result, len(kinds))
	w := p.worker()
	wire := wireOf(name)
	for _, kind := range kinds {
		w.lookup(name, wire, kind, func(_ *worker, ans *answer, reason Reason) {
			results <- result{ans, reason}
		})
	}
	w.release()
	var addrs []netip.Addr
	var failed error
	var late <-chan time.Time
	for range kinds {
		select {
		case r := <-results:
			addrs = append(addrs, r.ans.addrs...)
			if err := failure(r.ans, r.reason); err != nil && failed == nil {
				failed = err
			}
		case <-late:
			return addrs, nil
		case <-ctx.Done():
			return addrs, context.Cause(ctx)
		}
		if len(addrs) > 0 {
			late = time.After(resolutionDelay)
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, failed
}

// failure is why an answer has no addresses, or nil if it says itself that
// there are none.
func failure(ans *answer, reason Reason) error {
	switch {
	case reason == ReasonUpstreamTimeout, reason == ReasonUpstreamFailure:
		return fmt.Errorf("the name servers do not answer: %s", reason)
	case ans.rcode == RcodeNameError && ans.reason == "":
		return ErrNoSuchName
	case ans.rcode != RcodeSuccess && ans.reason == "":
		return fmt.Errorf("the name servers answer with code %d", ans.rcode)
	}
	return nil
}

// lookup calls then with the answer to a question: at once if it is known, and
// else when it is, on another goroutine.
func (w *worker) lookup(name string, wire []byte, kind uint16, then func(*worker, *answer, Reason)) {
	key := string([]byte{byte(kind >> 8), byte(kind)}) + name
	if e, _ := w.p.cache.get([]byte(key), time.Now()); e != nil {
		then(w, e.ans, e.ans.judge())
		return
	}
	f := &w.p.fwd
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		then(w, answerServFail, ReasonUpstreamFailure)
		return
	}
	fl := f.flights[key]
	fresh := fl == nil
	if fresh {
		fl = f.begin(key, wire, kind)
	}
	f.wait(fl, waiter{then: then})
	f.mu.Unlock()
	if fresh {
		w.try(fl)
	}
}

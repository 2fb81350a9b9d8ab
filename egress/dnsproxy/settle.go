package dnsproxy

import (
	"bytes"
	"time"
)

// reply handles a datagram from an upstream. What is not the reply to an open
// question of this socket, with its id and its spelling of the name, is
// ignored: it may be forged, and the true one may still come.
func (w *worker) reply(s *socket, msg []byte, cut bool) {
	if len(msg) < headerLen {
		return
	}
	f := &w.p.fwd
	t := f.find(s, be.Uint16(msg))
	if t == nil {
		return
	}
	switch answersQuestion(msg, appendQuestion(w.scratch[:0], t.fl.wire, &t.upper, t.fl.kind)) {
	case matchNone:
		return
	case matchFolded:
		// The upstream does not keep the letter case, or somebody guesses
		// ids. Over TCP the case is not needed; the question stays open.
		w.overTCP(t, false)
		return
	}
	if cut || be.Uint16(msg[2:])&flagTC != 0 {
		w.overTCP(t, true)
		return
	}
	ans, err := w.rd.read(msg, t.fl.wire, t.fl.kind)
	if !f.take(t) {
		return
	}
	if err != nil {
		w.retry(t.fl, nil)
		return
	}
	w.settle(t.fl, s.up, ans)
}

// match is how far a reply fits a question.
type match int

const (
	matchNone   match = iota
	matchFolded       // but for the letter case
	matchExact
)

// answersQuestion compares a reply, at least a header long, with a question.
func answersQuestion(msg, question []byte) match {
	flags := be.Uint16(msg[2:])
	if flags&flagQR == 0 || flags&maskOpcode != 0 || be.Uint16(msg[4:]) != 1 || len(msg) < headerLen+len(question) {
		return matchNone
	}
	got := msg[headerLen : headerLen+len(question)]
	if bytes.Equal(got, question) {
		return matchExact
	}
	name := len(question) - 4
	if !bytes.Equal(got[name:], question[name:]) {
		return matchNone
	}
	for i := range name {
		if lower(got[i]) != lower(question[i]) {
			return matchNone
		}
	}
	return matchFolded
}

// settle ends a flight with an upstream's answer, or goes on if the answer is a
// failure and somebody else may know better.
func (w *worker) settle(fl *flight, up *upstream, ans *answer) {
	ans.resolver = up.ID
	if ans.rcode != RcodeSuccess && ans.rcode != RcodeNameError {
		w.retry(fl, ans)
		return
	}
	if w.p.binds(fl.kind) {
		w.bind(fl, ans)
		return
	}
	w.p.cache.put(fl.key, ans, time.Now())
	w.deliver(fl, w.p.fwd.finish(fl), ReasonAllowed, ans)
}

// retry makes the next try of a flight after a failed one, if one is left.
func (w *worker) retry(fl *flight, ans *answer) {
	if w.failed(fl, ans) {
		w.try(fl)
	}
}

// giveUp ends a flight that no upstream has answered. A failure that an
// upstream reported is passed on as it is.
func (w *worker) giveUp(fl *flight, reason Reason) {
	if fl.fallback != nil && w.p.binds(fl.kind) {
		w.bind(fl, fl.fallback)
		return
	}
	waiters := w.p.fwd.finish(fl)
	if len(waiters) > 0 && fl.fallback != nil {
		w.deliver(fl, waiters, ReasonAllowed, fl.fallback)
		return
	}
	w.deliver(fl, waiters, reason, answerServFail)
}

// Explanations for clients.
var (
	edeTimeout = extendedError{code: edeNoReachableAuth, before: "the upstream resolver did not answer in time"}
	edeFailure = extendedError{code: edeNetworkError, before: "the upstream resolver could not be asked"}
)

// deliver answers the clients of a flight that has ended.
func (w *worker) deliver(fl *flight, waiters []waiter, reason Reason, ans *answer) {
	ede := ans.explain()
	switch reason {
	case ReasonUpstreamTimeout:
		ede = &edeTimeout
	case ReasonUpstreamFailure:
		ede = &edeFailure
	}
	for i := range waiters {
		c := &waiters[i]
		if c.then != nil {
			c.then(w, ans, reason)
			continue
		}
		v := &c.verdict
		v.give(ans, reason)
		w.respond(&c.client, &c.asker, fl.wire, fl.kind, v, c.began, ans, 0, ede)
	}
}

// socketFailed gives up a socket that the kernel reports an error for, such as
// an ICMP message that nobody listens at the other end.
func (w *worker) socketFailed(s *socket) {
	f := &w.p.fwd
	f.mu.Lock()
	var lost []*flight
	for _, t := range s.pending {
		lost = append(lost, t.fl)
	}
	clear(s.pending)
	f.close(s)
	f.mu.Unlock()
	for _, fl := range lost {
		w.retry(fl, nil)
	}
}

// expire makes the next try for questions whose time is up, and ends those that
// have had their tries, until the proxy closes.
func (p *Proxy) expire() {
	w := p.worker()
	defer w.release()
	f := &p.fwd
	timer := time.NewTimer(socketAge)
	defer timer.Stop()
	idle := true // the timer runs because nothing is in flight
	for {
		fired := false
		select {
		case <-p.ctx.Done():
			return
		case <-f.wake:
		case <-timer.C:
			fired = true
		}
		now := time.Now()
		for fl, last := f.nextDue(now); fl != nil; fl, last = f.nextDue(now) {
			if last {
				w.giveUp(fl, ReasonUpstreamTimeout)
			} else {
				w.try(fl)
			}
		}
		w.flush()
		wait, some := f.untilDue(time.Now())
		switch {
		case some:
			idle = false
			timer.Reset(wait)
		case fired && idle:
			p.rest() // and sleep until the next flight
		default:
			idle = true
			timer.Reset(socketAge)
		}
	}
}

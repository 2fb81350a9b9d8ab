package dnsproxy

import "time"

// handle decides about one message of a client. Limit is the largest response
// the client's transport takes; cut says that the message is not complete.
func (w *worker) handle(msg []byte, cut bool, c *client, limit int, now time.Time) {
	q := &w.q
	err := q.parse(msg, limit)
	if cut {
		err = errTruncated
	}
	if err != nil {
		w.malformed(c, err, now)
		return
	}
	v := Verdict{Type: typeName(q.kind)}
	name, listed := w.p.names.match(q.name())
	if name == "" {
		name = w.intern(q.name())
	}
	v.Name = name
	if ans := localAnswer(q.name(), q.kind); ans != nil {
		w.allow(c, &v, now, ans, 0)
		return
	}
	if ans := w.p.reverse(q.name(), q.kind); ans != nil {
		w.allow(c, &v, now, ans, 0)
		return
	}
	if !listed {
		w.deny(c, &v, ReasonNotInAllowlist, now)
		return
	}
	if !w.p.types[q.kind] {
		w.deny(c, &v, ReasonQueryType, now)
		return
	}
	if w.p.withheld(q.kind) {
		w.allow(c, &v, now, localNone, 0)
		return
	}
	if e, age := w.p.cache.get(q.keyBytes(), now); e != nil {
		w.allow(c, &v, now, e.ans, age)
		return
	}
	w.forward(c, &v, now)
}

// allow answers the query that the worker has parsed.
func (w *worker) allow(c *client, v *Verdict, now time.Time, ans *answer, age uint32) {
	v.give(ans, ans.judge())
	w.respond(c, &w.q.asker, w.q.wireName(), w.q.kind, v, now, ans, age, ans.explain())
}

// deny refuses the query that the worker has parsed and says how it would have
// been allowed.
func (w *worker) deny(c *client, v *Verdict, reason Reason, now time.Time) {
	v.Reason = reason
	ans := answerRefused
	ede := extendedError{code: edeProhibited}
	switch reason {
	case ReasonNotInAllowlist:
		if w.p.cfg.Deny == DenyNXDomain {
			ans = answerNXDomain
		}
		ede.before, ede.subject, ede.after = `add "`, w.q.name(), `" to spec.authority.dnsAuthority.hostnameAllowlist`
	case ReasonQueryType:
		ede.before, ede.middle, ede.after = `add "`, v.Type, `" to spec.authority.dnsAuthority.allowedQueryTypes`
	case ReasonUpstreamFailure:
		ans, ede = answerServFail, edeFailure
	case ReasonRateLimited:
		ans = answerServFail
		ede.code, ede.before = edeOther, "too many queries wait for the upstream resolver"
	}
	w.respond(c, &w.q.asker, w.q.wireName(), w.q.kind, v, now, ans, 0, &ede)
}

// malformed answers FORMERR to what could not be understood, or nothing if
// there is nobody to answer.
func (w *worker) malformed(c *client, err error, now time.Time) {
	q := &w.q
	v := Verdict{Reason: ReasonMalformed}
	if !q.answerable {
		w.record(c, &v, now, NoResponse)
		w.drop(c)
		return
	}
	if err == errVersion { // RFC 6891, section 6.1.3: answered with our version
		v.Name, v.Type = w.intern(q.name()), typeName(q.kind)
		w.respond(c, &q.asker, q.wireName(), q.kind, &v, now, answerBadVers, 0, nil)
		return
	}
	rcode := uint16(RcodeFormatError)
	if !w.record(c, &v, now, RcodeFormatError) {
		rcode = RcodeServerFailure
	}
	b := w.begin(c, headerLen)
	w.end(c, appendHeaderOnly(b, q, rcode))
}

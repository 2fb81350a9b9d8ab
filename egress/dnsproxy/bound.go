package dnsproxy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// With bound answers (Config.Bound) a client is told an address that stands
// for the name instead of the upstream's. The upstream is asked first all the
// same, so that a name that does not exist does not exist here either; and an
// address of either family will do, since whoever dials it is not the client.

// minBoundTTL is the least TTL of a bound answer, in seconds. The address
// stays for the life of the cell, so that the TTL does not shrink with age.
const minBoundTTL = 5

var (
	edeRebinding = extendedError{code: edeProhibited,
		before: "the name leads only into special ranges; see spec.authority.dnsAuthority.rebindingPolicy.responseIpAllowlist"}
	edeExhausted = extendedError{code: edeOther,
		before: "the names under this wildcard have taken all addresses that it has; declare names of your own"}
)

// binds reports whether questions of a type are answered with a bound address.
func (p *Proxy) binds(kind uint16) bool {
	return p.cfg.Bound != nil && (kind == typeA || kind == typeAAAA)
}

// withheld reports whether records of a type would lead around the address
// that is bound: they do not exist in the cell.
func (p *Proxy) withheld(kind uint16) bool {
	return p.cfg.Bound != nil && (kind == typeCNAME || kind == typeHTTPS || kind == typeSVCB)
}

// bind ends a flight for A or AAAA with the upstream's answer, or lets it wait
// for that of the other family where this one has no address that will do: some
// servers fail for a family that they do not have.
func (w *worker) bind(fl *flight, own *answer) {
	if ans := w.p.conclude(fl, own, nil); ans != nil {
		w.finish(fl, ans)
		return
	}
	key := siblingKey(fl)
	if e, _ := w.p.cache.get([]byte(key), time.Now()); e != nil {
		w.finish(fl, w.p.conclude(fl, own, e.ans))
		return
	}
	f := &w.p.fwd
	f.mu.Lock()
	if fl.settled() {
		f.mu.Unlock()
		return
	}
	other := f.flights[key]
	if other != nil && other.own != nil || f.closed {
		// The other waits for this one: both are known.
		answer := answerServFail
		if other != nil && other.own != nil {
			answer = other.own
		}
		f.mu.Unlock()
		w.finish(fl, w.p.conclude(fl, own, answer))
		return
	}
	fl.own = own
	f.unlink(fl)
	fresh := other == nil
	if fresh {
		other = f.begin(key, fl.wire, siblingKind(fl.kind))
	}
	f.wait(other, waiter{then: func(w *worker, ans *answer, _ Reason) {
		w.finish(fl, w.p.conclude(fl, own, ans))
	}})
	f.mu.Unlock()
	if fresh {
		w.try(other)
	}
}

// finish ends a flight with an answer that is kept.
func (w *worker) finish(fl *flight, ans *answer) {
	w.p.cache.put(fl.key, ans, time.Now())
	w.deliver(fl, w.p.fwd.finish(fl), ans.judge(), ans)
}

func siblingKind(kind uint16) uint16 {
	if kind == typeA {
		return typeAAAA
	}
	return typeA
}

// siblingKey is the key of the same name's flight for the other family.
func siblingKey(fl *flight) string {
	kind := siblingKind(fl.kind)
	return string([]byte{byte(kind >> 8), byte(kind)}) + fl.key[2:]
}

// conclude turns the upstream's answer into the client's. It returns nil if
// that depends on the answer for the other family, which is not given.
func (p *Proxy) conclude(fl *flight, own, other *answer) *answer {
	ans := &answer{rcode: own.rcode, lifetime: own.lifetime, resolver: own.resolver, texts: own.texts, addrs: own.addrs}
	if own.rcode == RcodeNameError {
		return ans
	}
	if !p.permitted(own) {
		if other == nil {
			return nil
		}
		ans.lifetime = min(ans.lifetime, other.lifetime)
		if len(own.addrs) == 0 {
			ans.texts = append(ans.texts[:len(ans.texts):len(ans.texts)], other.texts...)
		}
		if !p.permitted(other) {
			if len(own.addrs)+len(other.addrs) > 0 {
				p.refuseRebinding(ans)
			}
			return ans
		}
		ans.rcode = RcodeSuccess
	}
	name := fl.key[2:]
	v4, v6, ok := p.cfg.Bound.Bind(name)
	if !ok {
		ans.rcode, ans.reason, ans.lifetime = RcodeServerFailure, ReasonRateLimited, 0
		return ans
	}
	addr := v4
	if fl.kind == typeAAAA {
		addr = v6
	}
	if addr.IsValid() { // else the name exists, without such an address
		data := addr.AsSlice()
		ttl := max(ans.lifetime, minBoundTTL)
		ans.tail = append(appendRecord(nil, questionPointer, fl.kind, ttl, len(data)), data...)
		ans.answers, ans.bound = 1, addr.String()
	}
	return ans
}

func (p *Proxy) refuseRebinding(ans *answer) {
	ans.reason = ReasonRebinding
	ans.rcode = RcodeRefused
	if p.cfg.Deny == DenyNXDomain {
		ans.rcode = RcodeNameError
	}
}

// permitted reports whether the name may lead to an address of the answer.
func (p *Proxy) permitted(ans *answer) bool {
	for _, a := range ans.addrs {
		if p.cfg.Bound.Permits(a) {
			return true
		}
	}
	return false
}

// reverse is the answer to the question which name an address has, of which
// nobody else knows in a cell with bound answers; nil for other questions.
func (p *Proxy) reverse(name []byte, kind uint16) *answer {
	if p.cfg.Bound == nil || kind != typePTR {
		return nil
	}
	addr, ok := parseReverse(string(name))
	if !ok {
		return nil
	}
	target, ok := p.cfg.Bound.Reverse(addr)
	if !ok {
		return localNoName
	}
	data := wireOf(target)
	return &answer{
		tail: append(appendRecord(nil, questionPointer, typePTR, minBoundTTL, len(data)), data...), answers: 1,
		resolver: LocalResolver, texts: []string{target},
	}
}

var localNoName = &answer{rcode: RcodeNameError, resolver: LocalResolver}

// parseReverse reads a name under in-addr.arpa or ip6.arpa (RFC 1035, section
// 3.5; RFC 3596, section 2.5). What is no whole address has no name.
func parseReverse(name string) (addr netip.Addr, ok bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		var b [4]byte
		parts := strings.Split(rest, ".")
		for i, part := range parts {
			n, err := strconv.ParseUint(part, 10, 8)
			if err == nil && i < len(b) {
				b[len(b)-1-i] = byte(n)
			}
			if err != nil || len(parts) != len(b) {
				return netip.Addr{}, true
			}
		}
		return netip.AddrFrom4(b), true
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok {
		return netip.Addr{}, name == "in-addr.arpa" || name == "ip6.arpa"
	}
	var b [16]byte
	parts := strings.Split(rest, ".")
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 16, 4)
		if err != nil || len(part) != 1 || len(parts) != 2*len(b) {
			return netip.Addr{}, true
		}
		b[len(b)-1-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}

// wireOf is a name in normal form as messages have it.
func wireOf(name string) []byte {
	var b []byte
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

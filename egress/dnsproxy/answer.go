package dnsproxy

import "net/netip"

// answer is the part of a response that does not depend on who asks: its
// records, written so that they can stand behind any spelling of the question.
// It is shared between clients and the cache and never changed.
type answer struct {
	rcode     uint16
	tail      []byte   // answer and authority records
	answers   uint16   // how many of the records answer
	authority uint16   // how many are authority
	ttls      []uint16 // where in tail the TTLs are
	lifetime  uint32   // seconds for which it may be kept
	resolver  string
	texts     []string // for the verdict

	addrs  []netip.Addr // of the upstream's answer to A or AAAA
	bound  string       // the address that stands for them
	reason Reason       // if it is not that the name is allowed
}

// judge is the reason with which the answer is given.
func (a *answer) judge() Reason {
	if a.reason != "" {
		return a.reason
	}
	return ReasonAllowed
}

// explain is the extended error that goes with the answer, or nil.
func (a *answer) explain() *extendedError {
	switch a.reason {
	case ReasonRebinding:
		return &edeRebinding
	case ReasonRateLimited:
		return &edeExhausted
	}
	return nil
}

// Answers without records.
var (
	answerServFail = &answer{rcode: RcodeServerFailure}
	answerNXDomain = &answer{rcode: RcodeNameError}
	answerRefused  = &answer{rcode: RcodeRefused}
	answerBadVers  = &answer{rcode: rcodeBadVersion}
)

// Extended DNS Errors (RFC 8914, section 5.2).
const (
	edeOther           = 0
	edeProhibited      = 18
	edeNoReachableAuth = 22
	edeNetworkError    = 23
)

// extendedError explains an answer to a client that speaks EDNS. Its text is in
// parts, so that none has to be put together for a client that does not.
type extendedError struct {
	code           uint16
	before, middle string
	subject        []byte
	after          string
}

const (
	optLen  = 11 // an OPT record without options
	edeLen  = 6  // an EDE option without text
	optType = 4  // option code and length
)

// appendResponse appends the response to a question: header, question, the
// answer's records with their TTLs reduced by age, and OPT if the client sent
// one. What does not fit the client's limit is left out and TC set.
func appendResponse(b []byte, a *asker, wire []byte, kind uint16, ans *answer, age uint32, ede *extendedError) []byte {
	start := len(b)
	size := headerLen + len(wire) + 4 + len(ans.tail)
	var extra uint16
	if a.edns {
		size += optLen
		extra = 1
	}
	flags := uint16(flagQR|flagRA) | ans.rcode&maskRcode
	if a.rd {
		flags |= flagRD
	}
	full := size <= a.limit
	if full {
		b = appendHeader(b, a.id, flags, 1, ans.answers, ans.authority, extra)
	} else {
		b = appendHeader(b, a.id, flags|flagTC, 1, 0, 0, extra)
	}
	b = appendQuestion(b, wire, &a.upper, kind)
	if full {
		tail := len(b)
		b = append(b, ans.tail...)
		if age > 0 {
			for _, off := range ans.ttls {
				ttl := b[tail+int(off):]
				be.PutUint32(ttl, be.Uint32(ttl)-min(age, be.Uint32(ttl)))
			}
		}
	}
	if a.edns {
		b = appendOPT(b, ans.rcode, a.limit-(len(b)-start), ede)
	}
	return b
}

// appendOPT appends an OPT record with room bytes at most, and in it the
// extended error, without its text if that does not fit.
func appendOPT(b []byte, rcode uint16, room int, ede *extendedError) []byte {
	b = append(b, 0)
	b = be.AppendUint16(b, typeOPT)
	b = be.AppendUint16(b, maxUDP)
	b = append(b, byte(rcode>>4), 0, 0, 0) // extended rcode, version 0, flags
	if ede == nil || room < optLen+edeLen {
		return be.AppendUint16(b, 0)
	}
	text := len(ede.before) + len(ede.middle) + len(ede.subject) + len(ede.after)
	if room < optLen+edeLen+text {
		text = 0
	}
	b = be.AppendUint16(b, uint16(edeLen+text))
	b = be.AppendUint16(b, 15) // EDE
	b = be.AppendUint16(b, uint16(edeLen-optType+text))
	b = be.AppendUint16(b, ede.code)
	if text > 0 {
		b = append(b, ede.before...)
		b = append(b, ede.middle...)
		b = append(b, ede.subject...)
		b = append(b, ede.after...)
	}
	return b
}

// appendHeaderOnly appends a response without a question: to a message whose
// question could not be understood (RFC 1035, section 4.1.1).
func appendHeaderOnly(b []byte, q *query, rcode uint16) []byte {
	flags := flagQR | flagRA | q.opcode | rcode&maskRcode
	if q.rd {
		flags |= flagRD
	}
	return appendHeader(b, q.id, flags, 0, 0, 0, 0)
}

// localAnswer is the answer to names that stand for the loopback interface
// (RFC 6761, section 6.3), or nil if the name is not one of them.
func localAnswer(name []byte, kind uint16) *answer {
	switch string(name) {
	case "1.0.0.127.in-addr.arpa", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa":
		if kind == typePTR {
			return localPTR
		}
		return localNone
	}
	const suffix = ".localhost"
	if n := len(name) - len(suffix); string(name) != suffix[1:] && (n <= 0 || string(name[n:]) != suffix) {
		return nil
	}
	switch kind {
	case typeA:
		return localA
	case typeAAAA:
		return localAAAA
	}
	return localNone
}

var (
	localA    = localRecord(typeA, []byte{127, 0, 0, 1}, "127.0.0.1")
	localAAAA = localRecord(typeAAAA, []byte{15: 1}, "::1")
	localPTR  = localRecord(typePTR, []byte("\x09localhost\x00"), "localhost")
	localNone = &answer{resolver: LocalResolver}
)

func localRecord(kind uint16, data []byte, text string) *answer {
	b := appendRecord(nil, questionPointer, kind, 3600, len(data))
	return &answer{tail: append(b, data...), answers: 1, ttls: []uint16{6}, resolver: LocalResolver, texts: []string{text}}
}

// appendRecord appends a record up to its data, which is to follow.
func appendRecord(b []byte, owner, kind uint16, ttl uint32, data int) []byte {
	b = be.AppendUint16(b, owner)
	b = be.AppendUint16(b, kind)
	b = be.AppendUint16(b, classIN)
	b = be.AppendUint32(b, ttl)
	return be.AppendUint16(b, uint16(data))
}

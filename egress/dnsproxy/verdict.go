package dnsproxy

import (
	"net/netip"
	"time"
)

// Reason is the code that says why a query was answered as it was.
type Reason string

// The reasons of a verdict.
const (
	ReasonAllowed         Reason = "allowed_by_allowlist"
	ReasonNotInAllowlist  Reason = "denied_not_in_allowlist"
	ReasonQueryType       Reason = "denied_query_type"
	ReasonRebinding       Reason = "denied_rebinding"
	ReasonMalformed       Reason = "malformed_query"
	ReasonUpstreamFailure Reason = "upstream_failure"
	ReasonUpstreamTimeout Reason = "upstream_timeout"
	ReasonRateLimited     Reason = "rate_limited"
)

// Transport is how a query reached the proxy.
type Transport string

// The transports of a client.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
)

// LocalResolver is the resolver id of what the proxy answers by itself: the
// names and addresses of the loopback interface, which every cell has.
const LocalResolver = "local"

// NoResponse is the Rcode of a query that is dropped unanswered.
const NoResponse = -1

// Verdict is what was decided about one query.
type Verdict struct {
	// Name is lower case, without a final dot except for the root; it is
	// empty if the query is malformed.
	Name string
	// Type is a name such as "AAAA", or "TYPE123" (RFC 3597).
	Type   string
	Allow  bool
	Reason Reason
	// Rcode is the response code of the answer, or NoResponse.
	Rcode int
	// ResolverID is the upstream that gave the answer, possibly some time
	// ago; LocalResolver; or empty if none was asked.
	ResolverID string
	// Answers are the records of the answer: addresses, names, or data as
	// RFC 3597 writes it. At most maxAnswers; it must not be changed.
	Answers []string
	// Bound is the address that the client was told instead of those.
	Bound     string
	Duration  time.Duration
	Transport Transport
	Client    netip.AddrPort
}

// give makes v the verdict that an answer is given with.
func (v *Verdict) give(ans *answer, reason Reason) {
	v.Allow, v.Reason = reason == ReasonAllowed, reason
	v.ResolverID, v.Answers, v.Bound = ans.resolver, ans.texts, ans.bound
}

// maxAnswers and maxAnswerText bound what a verdict carries of a reply.
const (
	maxAnswers    = 16
	maxAnswerText = 256
)

// Package dnsproxy answers the DNS queries of a cell from the names that its
// document allows (RFC 1035, RFC 6891 for EDNS, RFC 7766 for TCP).
//
// A query that is not allowed never leaves the process. One that is allowed is
// never forwarded: a new query is built from its name and type alone, with an
// id, a source port and a letter case of the proxy's own choosing, and of the
// reply only what answers that question is used to build the client's answer.
// Every query has exactly one [Verdict], recorded before it is answered; a
// verdict that cannot be recorded turns the answer into SERVFAIL.
//
// The life of a query, in the code: udp.go or tcp.go reads it, query.go parses
// it, handle.go decides, cache.go may have the answer, forward.go asks for it
// over the sockets of upstream.go, reply.go reduces what came back, answer.go
// writes the response.
//
// With [Config.Bound] the client is told addresses that stand for names, in
// bound.go, and [Proxy.Resolve] tells whoever dials them what they stand for.
//
// Whether a connection may be opened is the decision of package egress. The
// package dials nothing itself: sockets come from the caller, who knows which
// network namespace they belong to.
package dnsproxy

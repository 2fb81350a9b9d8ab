package plan

import (
	"cmp"
	"net/netip"
	"slices"
)

// Network is the network of a cell: what it may reach, under which addresses,
// and the rules that refuse the rest. It is a pure function of the document
// and of whether the host has IPv6.
//
// Each allowed name has addresses of its own, which lead to the relay and
// nowhere else. An address therefore stands for one name, or it is one that
// the document declares literally.
type Network struct {
	// Own4 and Own6 are the cell's own addresses. Own6 is invalid on a host
	// without IPv6: the cell then has none either.
	Own4 netip.Addr `json:"own4"`
	Own6 netip.Addr `json:"own6,omitzero"`
	// Relay4 and Relay6 are where the relay listens in the cell.
	Relay4 netip.AddrPort `json:"relay4"`
	Relay6 netip.AddrPort `json:"relay6,omitzero"`
	// Resolver is true if queries to port 53 of any address are answered.
	Resolver bool `json:"resolver"`
	// Bound are the names and their addresses, in the order of these.
	Bound []Bound `json:"bound,omitempty"`
	// Literal are the addresses that may be reached as such: disjoint, by
	// protocol, port and address.
	Literal []Literal `json:"literal,omitempty"`
	// Servers are the name servers that the document declares (protocol
	// dns). The resolver answers in their place and asks them.
	Servers []Server `json:"servers,omitempty"`
	// ResponseAllow are private ranges into which names may lead.
	ResponseAllow []netip.Prefix `json:"responseAllow,omitempty"`
	// Digest is that of the text of Rules.
	Digest string `json:"rulesDigest"`
}

// Bound is a name and its addresses, or a wildcard and the ranges from which
// the names under it take theirs when they are first resolved.
type Bound struct {
	Name string       `json:"name"` // exact, or "*.x"
	V4   netip.Prefix `json:"v4"`   // a single address for an exact name
	V6   netip.Prefix `json:"v6,omitzero"`
	// Ports are those of all rules that cover the name. A name without any
	// can be resolved and no more.
	Ports []Port `json:"ports,omitempty"`
}

// Port is one port of a name.
type Port struct {
	Port uint16 `json:"port"`
	Rule int    `json:"rule"` // index in spec.authority.egressRules
}

// Literal is a range of addresses that may be reached on one port.
type Literal struct {
	Protocol Transport  `json:"protocol"`
	Port     uint16     `json:"port"`
	First    netip.Addr `json:"first"`
	Last     netip.Addr `json:"last"`
	Rule     int        `json:"rule"`
}

// Server is a declared name server.
type Server struct {
	Addr netip.AddrPort `json:"addr"`
	Rule int            `json:"rule"`
}

// Transport is an IP protocol, by its assigned number.
type Transport uint8

// The protocols that rules are about.
const (
	TCP Transport = 6
	UDP Transport = 17
)

func (t Transport) String() string {
	switch t {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "other"
}

// MarshalText writes the name of the protocol.
func (t Transport) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Reason is why a destination is allowed or refused (SPEC §2).
type Reason string

// The reasons of a Decision.
const (
	RuleMatch  Reason = "l4_rule_match"
	RuleMiss   Reason = "l4_rule_miss"
	IPNotBound Reason = "l7_ip_not_bound"
)

// NoRule is the index of no rule.
const NoRule = -1

// Decision is what a plan says about one destination.
type Decision struct {
	Allow  bool
	Reason Reason
	// Rule is the index of the rule in spec.authority.egressRules, or NoRule.
	Rule int
	// Name is the name or wildcard whose address it is; empty for a literal.
	Name string
	// Exact is true if the literal rule names this address alone.
	Exact bool
}

// Decide says whether the cell may reach an address, which is one in the
// cell's own view of the network. A Network that was not compiled allows
// nothing.
func (n *Network) Decide(proto Transport, dst netip.AddrPort) Decision {
	addr := dst.Addr()
	if i, ok := n.Locate(addr); ok {
		b := &n.Bound[i]
		for _, p := range b.Ports {
			if p.Port == dst.Port() && proto == TCP {
				return Decision{Allow: true, Reason: RuleMatch, Rule: p.Rule, Name: b.Name}
			}
		}
		return Decision{Reason: RuleMiss, Rule: NoRule, Name: b.Name}
	}
	if IsBoundSpace(addr) {
		return Decision{Reason: IPNotBound, Rule: NoRule}
	}
	i, found := slices.BinarySearchFunc(n.Literal, addr, func(l Literal, addr netip.Addr) int {
		if c := cmp.Or(cmp.Compare(l.Protocol, proto), cmp.Compare(l.Port, dst.Port())); c != 0 {
			return c
		}
		switch {
		case l.Last.Less(addr):
			return -1
		case addr.Less(l.First):
			return 1
		}
		return 0
	})
	if !found {
		return Decision{Reason: RuleMiss, Rule: NoRule}
	}
	l := &n.Literal[i]
	return Decision{Allow: true, Reason: RuleMatch, Rule: l.Rule, Exact: l.First == l.Last}
}

// Locate returns the index in Bound of the name or wildcard that has an
// address.
func (n *Network) Locate(addr netip.Addr) (int, bool) {
	v4, ok := boundOffset(addr)
	if !ok || addr.Is6() && !n.Own6.IsValid() {
		return 0, false
	}
	return slices.BinarySearchFunc(n.Bound, v4, func(b Bound, v4 netip.Addr) int {
		if b.V4.Contains(v4) {
			return 0
		}
		return b.V4.Addr().Compare(v4)
	})
}

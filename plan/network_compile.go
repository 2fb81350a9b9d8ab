package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"cellos.io/cellos/cell"
)

// network compiles the network of a cell whose backend has a relay.
func (c *compiler) network() {
	if !c.host.Relay {
		c.withoutRelay()
		return
	}
	n := &Network{Own4: own4, Relay4: relay4, Resolver: c.plan.DNS != nil}
	if c.host.IPv6 {
		n.Own6, n.Relay6 = own6, relay6
	}
	if dns := c.spec.Authority.DNSAuthority; dns != nil {
		if dns.Answers == cell.AnswersReal {
			c.refuse("spec.authority.dnsAuthority.answers",
				"real answers cannot be held to their names on this backend", "leave the field out")
		}
		if dns.RebindingPolicy != nil {
			n.ResponseAllow = prefixes(dns.RebindingPolicy.ResponseIPAllowlist)
		}
	}
	rules := c.rules()
	c.bind(n, rules)
	c.literals(n, rules)
	rs := n.Rules()
	n.Digest = rs.Digest()
	c.plan.Network = n
}

// withoutRelay refuses what only a relay can give.
func (c *compiler) withoutRelay() {
	const remedy = "set CELLOS_CELL_BACKEND=native, or remove it"
	for _, r := range c.rules() {
		if r.proto != cell.TCP && r.proto != cell.DNS {
			continue // no backend has it, which is said already
		}
		c.refuse(fmt.Sprintf("spec.authority.egressRules[%d]", r.index),
			fmt.Sprintf("backend %s has no relay, so nothing but the cell's own loopback can be reached", c.host.Backend), remedy)
	}
	dns := c.spec.Authority.DNSAuthority
	if dns == nil {
		return
	}
	if dns.Answers == cell.AnswersBound {
		c.refuse("spec.authority.dnsAuthority.answers",
			fmt.Sprintf("backend %s has no relay, so there are no bound addresses", c.host.Backend), "declare real, or leave the field out")
	}
	if dns.RebindingPolicy != nil {
		c.refuse("spec.authority.dnsAuthority.rebindingPolicy",
			fmt.Sprintf("backend %s has no relay that could keep to it", c.host.Backend), remedy)
	}
}

// rule is an egress rule that leads out of the cell.
type rule struct {
	index  int
	target cell.Target
	port   uint16
	proto  cell.Protocol
}

// rules are those that lead out of the cell, in document order.
func (c *compiler) rules() []rule {
	var list []rule
	for i, r := range c.spec.Authority.EgressRules {
		target, err := cell.ParseTarget(r.Host)
		if err != nil || target.Loopback() || target.HostLoopback() {
			continue
		}
		list = append(list, rule{i, target, uint16(r.Port), r.Protocol})
	}
	return list
}

// bind gives every name that may be resolved its addresses and the ports of
// the rules that cover it.
func (c *compiler) bind(n *Network, rules []rule) {
	names := c.names()
	var exact, wild int
	patterns := make([]cell.HostPattern, len(names))
	for i, name := range names {
		patterns[i], _ = cell.ParseHostPattern(name) // they are in normal form
		if patterns[i].Wildcard() {
			wild++
		} else {
			exact++
		}
	}
	if exact > maxNames || wild > maxWildcards {
		c.refuse("spec.authority.dnsAuthority.hostnameAllowlist",
			fmt.Sprintf("%d names and %d wildcards need addresses of their own; there is room for %d and %d", exact, wild, maxNames, maxWildcards),
			"declare fewer")
		return
	}
	covering := newCover(rules)
	space := newAllocator(wild)
	for _, p := range patterns {
		b := Bound{Name: p.String(), Ports: covering.ports(p)}
		if p.Wildcard() {
			b.V4 = space.wildcard(b.Name)
		} else {
			b.V4 = space.name(b.Name)
		}
		if n.Own6.IsValid() {
			b.V6 = netip.PrefixFrom(Bound6(b.V4.Addr()), 96+b.V4.Bits())
		}
		n.Bound = append(n.Bound, b)
	}
	slices.SortFunc(n.Bound, func(a, b Bound) int { return a.V4.Addr().Compare(b.V4.Addr()) })
}

// cover finds the rules that cover a name, in as many steps as it has labels.
type cover map[string][]Port

func newCover(rules []rule) cover {
	m := make(cover)
	for _, r := range rules {
		if !r.target.Literal() && r.proto == cell.TCP {
			name := r.target.Name.String()
			m[name] = append(m[name], Port{r.port, r.index})
		}
	}
	return m
}

// ports are the ports of a pattern, ascending, each with the first rule that
// gives it.
func (m cover) ports(p cell.HostPattern) []Port {
	ports := slices.Clone(m[p.String()])
	rest := strings.TrimPrefix(p.String(), "*.")
	for more := true; more; {
		if _, rest, more = strings.Cut(rest, "."); more {
			ports = append(ports, m["*."+rest]...)
		}
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Rule, b.Rule))
	})
	return slices.CompactFunc(ports, func(a, b Port) bool { return a.Port == b.Port })
}

// literals adds what rules with addresses open. Where two rules overlap the
// first has it.
func (c *compiler) literals(n *Network, rules []rule) {
	type key struct {
		proto Transport
		port  uint16
		is4   bool
	}
	taken := make(map[key][]span)
	for _, r := range rules {
		if !r.target.Literal() {
			continue
		}
		prefix := r.target.Prefix
		if !prefix.Addr().Is4() && !n.Own6.IsValid() {
			c.refuse(fmt.Sprintf("spec.authority.egressRules[%d].host", r.index),
				"this host has no IPv6", "remove the rule, or enable IPv6 on the host")
			continue
		}
		if IsBoundSpace(prefix.Addr()) && prefix.Bits() >= boundSpaceOf(prefix).Bits() {
			c.refuse(fmt.Sprintf("spec.authority.egressRules[%d].host", r.index),
				fmt.Sprintf("%s lies in %s, where the addresses of names come from", prefix, boundSpaceOf(prefix)),
				"remove the rule")
			continue
		}
		if r.proto == cell.DNS {
			n.Servers = append(n.Servers, Server{netip.AddrPortFrom(prefix.Addr(), r.port), r.index})
			continue
		}
		if r.proto != cell.TCP {
			continue
		}
		k := key{TCP, r.port, prefix.Addr().Is4()}
		spans := []span{spanOf(prefix)}
		for _, hole := range closedTo(prefix) {
			spans = without(spans, spanOf(hole))
		}
		for _, earlier := range taken[k] {
			spans = without(spans, earlier)
		}
		taken[k] = append(taken[k], spans...)
		for _, s := range spans {
			n.Literal = append(n.Literal, Literal{TCP, r.port, s.first, s.last, r.index})
		}
	}
	slices.SortFunc(n.Literal, func(a, b Literal) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.First.Compare(b.First))
	})
}

func boundSpaceOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		return boundPrefix4
	}
	return boundPrefix6
}

// prefixes reads a list of addresses and prefixes of a valid document.
func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if t, err := cell.ParseTarget(s); err == nil && t.Literal() {
			out = append(out, t.Prefix)
		}
	}
	return out
}

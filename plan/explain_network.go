package plan

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"cellos.io/cellos/cell"
)

func (e *explainer) resolves() {
	e.section("Which names it may resolve")
	dns := e.plan.DNS
	switch {
	case dns == nil && !e.plan.Unshare.Net:
		e.item("every name: it uses the network and the resolvers of the host")
		return
	case dns == nil:
		e.item("none: it has no resolver")
		return
	}
	for _, name := range dns.Names {
		text := name
		if rest, wildcard := strings.CutPrefix(name, "*."); wildcard {
			text += ", which is every name under " + rest + " and not " + rest + " itself"
		}
		e.item("%s%s", text, e.boundAt(name))
	}
	if len(dns.Names) == 0 {
		e.item("none, but its resolver says so and records what was asked for")
		return
	}
	answer := "that they are refused (REFUSED)"
	if dns.DenyResponse == DenyNXDomain {
		answer = "that they do not exist (NXDOMAIN)"
	}
	e.item("record types are %s", strings.Join(dns.Types, ", "))
	e.item("for other names and types the answer is %s; they are never asked upstream", answer)
	for _, u := range dns.Upstreams {
		from := ""
		if u.InCell {
			from = ", inside the cell: the workload may answer its own queries"
		}
		e.item("upstream is %s at %s, by %s%s", shown(u.ID), u.Addr, u.Protocol, from)
	}
}

// boundAt says which addresses a name has in the cell.
func (e *explainer) boundAt(name string) string {
	if e.plan.Network == nil {
		return ""
	}
	i := slices.IndexFunc(e.plan.Network.Bound, func(b Bound) bool { return b.Name == name })
	if i < 0 {
		return ""
	}
	b := e.plan.Network.Bound[i]
	at := prefixText(b.V4)
	if b.V6.IsValid() {
		at += " and " + prefixText(b.V6)
	}
	return ", in the cell at " + at
}

func (e *explainer) connects() {
	e.section("Where it may connect to")
	n := e.plan.Network
	if !e.plan.Unshare.Net {
		e.item("wherever the host can: it has no network of its own")
		return
	}
	var rows [][]string
	for i, r := range e.doc.Spec.Authority.EgressRules {
		row := []string{fmt.Sprintf("%s port %d", r.Host, r.Port), string(r.Protocol), e.breadth(i, r)}
		if e.refused[fmt.Sprintf("spec.authority.egressRules[%d]", i)] {
			row[2] = "refused"
		}
		if r.Justification != "" {
			row[2] += "; because: " + shown(r.Justification)
		}
		rows = append(rows, row)
	}
	e.table(rows)
	e.item("its own loopback, which leads nowhere else")
	if n == nil {
		return
	}
	if len(n.Bound) > 0 {
		for _, p := range n.ResponseAllow {
			e.item("names may lead into the private range %s", p)
		}
		e.item("no name may lead into any other special range, or to an address of this host")
	}
	e.item("everything else fails at once and is recorded")
}

// breadth says how much a rule opens.
func (e *explainer) breadth(index int, r cell.EgressRule) string {
	t, err := cell.ParseTarget(r.Host)
	switch {
	case err != nil:
		return "" // of no valid document
	case t.Loopback():
		return "the cell's own loopback"
	case t.HostLoopback():
		return "this port on the loopback of the host"
	}
	where := "to the addresses that it resolves to"
	if t.Literal() {
		where = e.literalBreadth(index, t)
	} else if t.Name.Wildcard() {
		where = "to the addresses that any name under it resolves to"
	}
	switch r.Protocol {
	case cell.TCP:
		return "any bytes, which nobody looks at, " + where
	case cell.TLS:
		return "TLS connections that ask for this name, " + where
	case cell.HTTPS:
		return "TLS connections that ask for this name, with HTTP, " + where
	case cell.HTTP:
		return "HTTP requests to this host, " + where
	case cell.UDP:
		return "any datagrams, " + where
	case cell.DNS:
		return "the resolver asks in its place and answers for allowed names alone"
	}
	return where
}

// literalBreadth counts the addresses that a literal rule opens.
func (e *explainer) literalBreadth(index int, t cell.Target) string {
	if t.Single() {
		return "to one address"
	}
	n := e.plan.Network
	if n == nil {
		return "to " + t.Prefix.String()
	}
	count := new(big.Int)
	for _, l := range n.Literal {
		if l.Rule != index {
			continue
		}
		first, last := new(big.Int).SetBytes(l.First.AsSlice()), new(big.Int).SetBytes(l.Last.AsSlice())
		count.Add(count, last.Sub(last, first)).Add(count, big.NewInt(1))
	}
	whole := new(big.Int).Lsh(big.NewInt(1), uint(t.Prefix.Addr().BitLen()-t.Prefix.Bits()))
	text := "to each of " + countText(count) + " addresses"
	if count.Cmp(whole) < 0 {
		text += ", which are those of it in no special range and of no earlier rule"
	}
	return text
}

// countText is a number, or its magnitude where nobody could read it.
func countText(n *big.Int) string {
	if n.BitLen() <= 40 {
		return n.String()
	}
	return fmt.Sprintf("about 2^%d", n.BitLen()-1)
}

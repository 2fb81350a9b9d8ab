package plan

import (
	"net/netip"
	"slices"
)

// Names that the kernel knows the rules by.
const (
	TableName      = "cellos"
	CounterRefused = "refused"
)

// LogGroup is the NFLOG group of refusals.
const LogGroup = 1

const (
	dnsPort = 53
	// logBytes is what of a refused packet is logged: its headers, also
	// with options and extension headers.
	logBytes = 128
	// logRate and logBurst bound the work that a workload can cause outside
	// its cell by asking for what it may not have. What is not logged is
	// counted all the same.
	logRate  = 50000
	logBurst = 20000

	// priorityMangle is before routing decides (nft(8)), where tproxy has to
	// be; the same in output is before any other table.
	priorityMangle = -150
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// Rules is the firewall of the cell. In its network namespace every address is
// local, so losing the rules opens nothing: there is no other link. They
// refuse at connect(2), and count, what the relay would not relay.
//
// Nothing here tracks connections. Only the packet that opens one is judged;
// the relay asks the plan again.
func (n *Network) Rules() Ruleset {
	rs := Ruleset{Table: TableName}
	v6 := n.Own6.IsValid()
	rs.Sets = append(rs.Sets, n.allowed("allow4", false))
	if v6 {
		rs.Sets = append(rs.Sets, n.allowed("allow6", true))
	}
	if len(n.Servers) > 0 {
		rs.Sets = append(rs.Sets, n.servers("dns4", false))
		if v6 {
			rs.Sets = append(rs.Sets, n.servers("dns6", true))
		}
	}
	rs.Chains = []Chain{
		{Name: "refuse", Rules: refusal()},
		{Name: "output", Hook: HookOutput, Priority: priorityMangle, Rules: n.output(v6)},
		{Name: "prerouting", Hook: HookPrerouting, Priority: priorityMangle, Rules: n.prerouting(v6)},
	}
	return rs
}

// refusal counts every packet, logs most and refuses all. A TCP client is told
// at once by RST (ECONNREFUSED). What is sent otherwise is dropped where it is
// sent, which send(2) says as well (EPERM); an ICMP error would be one more
// packet to judge, and no news.
func refusal() []Rule {
	return []Rule{
		{Count{CounterRefused}},
		{Limit{logRate, logBurst}, Log{LogGroup, logBytes}},
		{IsTransport{TCP}, Reset{}},
	}
}

// output judges what the cell sends.
func (n *Network) output(v6 bool) []Rule {
	rules := n.private(v6)
	// Segments of connections that were judged when they opened, and of
	// those that never existed, which find no socket. Refusing these, and
	// the RST of a refusal among them, would leave clients waiting.
	rules = append(rules, Rule{IsTransport{TCP}, Established{}, Accept{}})
	// Every address is local, so a workload may send from any.
	rules = append(rules, Rule{
		Match{Source: true, Prefix: host(n.Own4), Not: true},
		Match{Source: true, Prefix: loopback4, Not: true}, Goto{"refuse"}})
	if v6 {
		rules = append(rules, Rule{
			Match{Source: true, Prefix: host(n.Own6), Not: true},
			Match{Source: true, Prefix: loopback6, Not: true}, Goto{"refuse"}})
	}
	rules = append(rules, n.open(v6, func(allowed In, _ netip.AddrPort) Rule {
		return Rule{allowed, Accept{}}
	})...)
	return append(rules, Rule{Goto{"refuse"}})
}

// prerouting hands to the relay what output let through.
func (n *Network) prerouting(v6 bool) []Rule {
	rules := n.private(v6)
	rules = append(rules, Rule{IsTransport{TCP}, Established{}, Accept{}})
	return append(rules, n.open(v6, func(allowed In, relay netip.AddrPort) Rule {
		return Rule{IsTransport{TCP}, allowed, Redirect{relay}, Accept{}}
	})...)
}

// private accepts the cell's own loopback and addresses.
func (n *Network) private(v6 bool) []Rule {
	rules := []Rule{
		{Match{Prefix: host(n.Own4)}, Accept{}},
		{Match{Prefix: loopback4}, Accept{}},
	}
	if v6 {
		rules = append(rules,
			Rule{Match{Prefix: host(n.Own6)}, Accept{}},
			Rule{Match{Prefix: loopback6}, Accept{}})
	}
	return rules
}

// open lets declared destinations through, in the way of relayed where it is
// the relay that serves them. The resolver serves the others.
func (n *Network) open(v6 bool, relayed func(In, netip.AddrPort) Rule) []Rule {
	var rules []Rule
	if len(n.Servers) > 0 {
		rules = append(rules, Rule{In{"dns4", false}, Accept{}})
		if v6 {
			rules = append(rules, Rule{In{"dns6", true}, Accept{}})
		}
	}
	rules = append(rules, relayed(In{"allow4", false}, n.Relay4))
	if v6 {
		rules = append(rules, relayed(In{"allow6", true}, n.Relay6))
	}
	if n.Resolver {
		rules = append(rules,
			Rule{IsTransport{UDP}, ToPort{dnsPort}, Accept{}},
			Rule{IsTransport{TCP}, ToPort{dnsPort}, Accept{}})
	}
	return rules
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// allowed is the set of everything that the relay relays.
func (n *Network) allowed(name string, v6 bool) Set {
	s := Set{Name: name, V6: v6}
	for i := range n.Bound {
		b := &n.Bound[i]
		p := b.V4
		if v6 {
			p = b.V6
		}
		for _, port := range b.Ports {
			s.Elements = append(s.Elements, Element{p.Addr(), lastOf(p), TCP, port.Port})
		}
	}
	for _, l := range n.Literal {
		if l.First.Is6() == v6 {
			s.Elements = append(s.Elements, Element{l.First, l.Last, l.Protocol, l.Port})
		}
	}
	return s
}

// servers is the set of the declared name servers.
func (n *Network) servers(name string, v6 bool) Set {
	s := Set{Name: name, V6: v6}
	for _, d := range n.Servers {
		if a := d.Addr.Addr(); a.Is6() == v6 {
			s.Elements = append(s.Elements, Element{a, a, TCP, d.Addr.Port()}, Element{a, a, UDP, d.Addr.Port()})
		}
	}
	slices.SortFunc(s.Elements, func(a, b Element) int { return a.First.Compare(b.First) })
	return s
}

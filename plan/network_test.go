package plan_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

// relayHost is a host whose backend has a relay.
func relayHost() plan.Host {
	h := stubHost()
	h.Backend, h.TestDouble, h.Relay, h.IPv6 = "native", false, true, true
	return h
}

// networkOf compiles the network of a document of testdata/network.
func networkOf(t *testing.T, name string, host plan.Host) *plan.Network {
	t.Helper()
	path := filepath.Join("testdata", "network", name+".yaml")
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := cell.Parse(path, src)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := plan.Compile(doc, host)
	return p.Network
}

// Each case is a document; its network and its rules are beside it.
func TestNetwork(t *testing.T) {
	for _, c := range []struct {
		name, golden string
		change       func(*plan.Host)
	}{
		{"nothing", "nothing", func(*plan.Host) {}},
		{"names", "names", func(*plan.Host) {}},
		{"names", "names-v4-only", func(h *plan.Host) { h.IPv6 = false }},
		{"literals", "literals", func(*plan.Host) {}},
	} {
		t.Run(c.golden, func(t *testing.T) {
			host := relayHost()
			c.change(&host)
			n := networkOf(t, c.name, host)
			got, err := json.MarshalIndent(n, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "network", c.golden+".json"), append(got, '\n'))
			golden(t, filepath.Join("testdata", "network", c.golden+".nft"), []byte(n.Rules().Text()))
		})
	}
}

func TestNoRelayNoNetwork(t *testing.T) {
	if n := networkOf(t, "names", stubHost()); n != nil {
		t.Errorf("a backend without a relay has network %+v", n)
	}
}

func TestDecide(t *testing.T) {
	names, literals := networkOf(t, "names", relayHost()), networkOf(t, "literals", relayHost())
	of := func(n *plan.Network, name string, v6 bool) netip.Addr {
		for _, b := range n.Bound {
			if b.Name == name && v6 {
				return b.V6.Addr()
			} else if b.Name == name {
				return b.V4.Addr()
			}
		}
		t.Fatalf("%s is not bound", name)
		return netip.Addr{}
	}
	addr := netip.MustParseAddr
	for _, c := range []struct {
		net   *plan.Network
		addr  netip.Addr
		port  uint16
		proto plan.Transport
		want  plan.Decision
	}{
		{names, of(names, "api.example.com", false), 443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 0, Name: "api.example.com"}},
		{names, of(names, "api.example.com", true), 443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 0, Name: "api.example.com"}},
		// The wildcard covers the name as well, and comes first.
		{names, of(names, "api.example.com", false), 80, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 1, Name: "api.example.com"}},
		{names, of(names, "api.example.com", false), 80, plan.UDP, plan.Decision{Reason: plan.RuleMiss, Rule: -1, Name: "api.example.com"}},
		{names, of(names, "api.example.com", false), 8080, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1, Name: "api.example.com"}},
		{names, of(names, "*.example.com", false).Next(), 80, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 1, Name: "*.example.com"}},
		{names, of(names, "*.example.com", false), 443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1, Name: "*.example.com"}},
		{names, of(names, "*.deep.example.com", true), 8080, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 2, Name: "*.deep.example.com"}},
		{names, of(names, "*.deep.example.com", false), 80, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 1, Name: "*.deep.example.com"}},
		{names, of(names, "listed.deep.example.com", false), 8080, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 2, Name: "listed.deep.example.com"}},
		{names, of(names, "only-resolved.test", false), 443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1, Name: "only-resolved.test"}},
		{names, addr("198.18.0.1"), 443, plan.TCP, plan.Decision{Reason: plan.IPNotBound, Rule: -1}},
		{names, addr("198.18.0.2"), 1, plan.TCP, plan.Decision{Reason: plan.IPNotBound, Rule: -1}},
		{names, addr("fd63:656c:6c6f::2"), 1, plan.TCP, plan.Decision{Reason: plan.IPNotBound, Rule: -1}},
		{names, addr("203.0.113.10"), 443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{names, addr("::ffff:203.0.113.10"), 443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},

		{literals, addr("203.0.113.10"), 443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 0, Exact: true}},
		{literals, addr("203.0.113.11"), 443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 1}},
		{literals, addr("203.0.113.11"), 444, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("10.1.2.3"), 5432, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 2}},
		{literals, addr("8.8.8.8"), 80, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 3}},
		{literals, addr("10.1.2.3"), 80, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("169.254.169.254"), 80, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("198.18.7.7"), 80, plan.TCP, plan.Decision{Reason: plan.IPNotBound, Rule: -1}},
		{literals, addr("2001:db8::1"), 443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 4}},
		{literals, addr("2620::1"), 8443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 5}},
		{literals, addr("fd00::1"), 8443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("64:ff9b::10.0.0.1"), 8443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("64:ff9b::8.8.8.8"), 8443, plan.TCP, plan.Decision{Allow: true, Reason: plan.RuleMatch, Rule: 5}},
		{literals, addr("2002:a00:1::1"), 8443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("::ffff:8.8.8.8"), 8443, plan.TCP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
		{literals, addr("192.0.2.53"), 53, plan.UDP, plan.Decision{Reason: plan.RuleMiss, Rule: -1}},
	} {
		if got := c.net.Decide(c.proto, netip.AddrPortFrom(c.addr, c.port)); got != c.want {
			t.Errorf("Decide(%v, %v:%d) = %+v, want %+v", c.proto, c.addr, c.port, got, c.want)
		}
	}
	if d := new(plan.Network).Decide(plan.TCP, netip.MustParseAddrPort("203.0.113.10:443")); d.Allow {
		t.Error("an empty network allows a destination")
	}
}

// What the firewall lets through is what Decide allows, at both ends of every
// range and just outside.
func TestRulesAgreeWithDecide(t *testing.T) {
	for _, name := range []string{"nothing", "names", "literals"} {
		n := networkOf(t, name, relayHost())
		for _, set := range n.Rules().Sets {
			if strings.HasPrefix(set.Name, "dns") {
				continue
			}
			in := func(a netip.Addr, port uint16) bool {
				for _, e := range set.Elements {
					if e.Port == port && e.First.Compare(a) <= 0 && a.Compare(e.Last) <= 0 {
						return true
					}
				}
				return false
			}
			for i, e := range set.Elements {
				for j, f := range set.Elements {
					if i != j && e.Port == f.Port && e.First.Compare(f.Last) <= 0 && f.First.Compare(e.Last) <= 0 {
						t.Errorf("%s: elements %v and %v overlap", set.Name, e, f)
					}
				}
				for _, a := range []netip.Addr{e.First, e.Last, e.First.Prev(), e.Last.Next()} {
					if !a.IsValid() {
						continue
					}
					d := n.Decide(plan.TCP, netip.AddrPortFrom(a, e.Port))
					if d.Allow != in(a, e.Port) {
						t.Errorf("%s: %v:%d: plan says %v, rules say %v", set.Name, a, e.Port, d.Allow, !d.Allow)
					}
				}
			}
		}
	}
}

func TestPermits(t *testing.T) {
	n := networkOf(t, "names", relayHost()) // with 10.1.0.0/16 and fd12::/16
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"203.0.113.1", true},
		{"8.8.8.8", true},
		{"2001:db8::1", true},
		{"10.1.2.3", true},
		{"::ffff:10.1.2.3", true},
		{"64:ff9b::10.1.2.3", true},
		{"2002:a01:203::", true},
		{"fd12::1", true},
		{"10.2.0.1", false},
		{"::ffff:10.2.0.1", false},
		{"64:ff9b::10.2.0.1", false},
		{"2002:a02:1::", false},
		{"127.0.0.1", false},
		{"::1", false},
		{"::ffff:127.0.0.1", false},
		{"64:ff9b::7f00:1", false},
		{"169.254.169.254", false},
		{"fd00:ec2::254", false},
		{"168.63.129.16", false},
		{"100.100.100.200", false},
		{"198.18.3.4", false},
		{"0.0.0.0", false},
		{"255.255.255.255", false},
		{"224.0.0.1", false},
		{"::", false},
		{"fe80::1", false},
		{"fe80::1%lo", false},
		{"ff02::1", false},
	} {
		if got := n.Permits(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("Permits(%s) = %v", c.addr, got)
		}
	}
}

// A name has the same addresses in every document in which nothing collides,
// and no two names ever share one.
func TestBoundAddresses(t *testing.T) {
	var rules []string
	for i := range 5000 {
		rules = append(rules, fmt.Sprintf("{host: n%d.example.org, port: 443, protocol: tcp}", i))
	}
	for i := range 200 {
		rules = append(rules, fmt.Sprintf(`{host: "*.w%d.example.org", port: 443, protocol: tcp}`, i))
	}
	network := func(rules []string) *plan.Network {
		doc, err := cell.Parse("cell.yaml", []byte(fmt.Sprintf(
			"apiVersion: cellos.io/v1\nkind: ExecutionCell\nspec: {id: x, lifetime: {ttlSeconds: 1}, authority: {egressRules: [%s]}}\n",
			strings.Join(rules, ", "))))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := plan.Compile(doc, relayHost())
		return p.Network
	}
	n := network(rules)
	if len(n.Bound) != len(rules) {
		t.Fatalf("%d names are bound, not %d", len(n.Bound), len(rules))
	}
	reserved := netip.MustParsePrefix("198.18.0.0/28")
	for i, b := range n.Bound {
		if reserved.Overlaps(b.V4) {
			t.Errorf("%s has %s, which is reserved", b.Name, b.V4)
		}
		if i > 0 && n.Bound[i-1].V4.Overlaps(b.V4) {
			t.Errorf("%s and %s share %s", n.Bound[i-1].Name, b.Name, b.V4)
		}
		if got, ok := n.Locate(b.V6.Addr()); !ok || got != i {
			t.Errorf("%s is not found by %s", b.Name, b.V6)
		}
	}
	alone := network(rules[4999:5000]).Bound[0]
	for _, b := range n.Bound {
		if b.Name == alone.Name && b.V4 != alone.V4 {
			t.Logf("%s collides with another name", b.Name) // 5000 in 65520
		}
	}
	again := network(rules)
	if again.Digest != n.Digest {
		t.Error("the same document has other rules")
	}
}

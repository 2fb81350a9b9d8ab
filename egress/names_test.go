package egress_test

import (
	"fmt"
	"net/netip"
	"testing"

	"cellos.io/cellos/egress"
	"cellos.io/cellos/egress/egresstest"
)

func TestNames(t *testing.T) {
	n := egresstest.Plan(t, `egressRules: [
		{host: api.example.com, port: 443, protocol: tcp}, {host: "*.example.com", port: 443, protocol: tcp},
		{host: "*.deep.example.com", port: 443, protocol: tcp}]`)
	s := egress.NewNames(n)
	inside := func(pattern string, addr netip.Addr) bool {
		for _, b := range n.Bound {
			if b.Name == pattern {
				return b.V4.Contains(addr) || b.V6.Contains(addr)
			}
		}
		return false
	}
	for name, pattern := range map[string]string{
		"api.example.com": "api.example.com", "www.example.com": "*.example.com", "api.deep.example.com": "*.deep.example.com",
		"a.b.deep.example.com": "*.deep.example.com", "deep.example.com": "*.example.com",
	} {
		v4, v6, ok := s.Bind(name)
		if !ok || !inside(pattern, v4) || !inside(pattern, v6) {
			t.Errorf("%s: %v, %v, %v, not of %s", name, v4, v6, ok, pattern)
		}
		for _, a := range []netip.Addr{v4, v6} {
			if got, ok := s.NameOf(a); !ok || got != name {
				t.Errorf("%v is %q, %v, not %s", a, got, ok, name)
			}
		}
		if again, _, _ := s.Bind(name); again != v4 {
			t.Errorf("%s moves from %v to %v", name, v4, again)
		}
	}
	if _, _, ok := s.Bind("example.com"); ok {
		t.Error("a wildcard covers its own name")
	}
	for addr, want := range map[netip.Addr]string{n.Own4: "cell", n.Own6: "cell", netip.MustParseAddr("203.0.113.1"): ""} {
		if got, _ := s.Reverse(addr); got != want {
			t.Errorf("%v is %q", addr, got)
		}
	}
}

// A wildcard's range is given out to the last address, and no further.
func TestNamesExhausted(t *testing.T) {
	n := egresstest.Plan(t, `egressRules: [{host: "*.example.com", port: 443, protocol: tcp}]`)
	s := egress.NewNames(n)
	size := n.Bound[0].Size()
	seen := make(map[netip.Addr]bool)
	for i := range size {
		v4, _, ok := s.Bind(fmt.Sprintf("n%d.example.com", i))
		if !ok || seen[v4] {
			t.Fatalf("name %d: %v, %v", i, v4, ok)
		}
		seen[v4] = true
	}
	if _, _, ok := s.Bind("more.example.com"); ok {
		t.Errorf("more than %d names have an address", size)
	}
	if _, _, ok := s.Bind("n0.example.com"); !ok {
		t.Error("a name has lost its address")
	}
}

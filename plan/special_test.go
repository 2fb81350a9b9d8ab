package plan_test

import (
	"net/netip"
	"testing"

	"cellos.io/cellos/plan"
)

// Whatever the document allows, a name leads neither to the host itself nor to
// what every host has around it.
func TestNoNameLeadsToTheHost(t *testing.T) {
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	n := &plan.Network{ResponseAllow: all}
	for _, addr := range []string{
		"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
		"0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "64:ff9b::",
		"169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
	} {
		if n.Permits(netip.MustParseAddr(addr)) {
			t.Errorf("a name may lead to %s", addr)
		}
	}
	for _, addr := range []string{"10.1.2.3", "192.168.0.1", "fc00::1", "203.0.113.1"} {
		if !n.Permits(netip.MustParseAddr(addr)) {
			t.Errorf("%s is covered by the document and refused", addr)
		}
	}
}

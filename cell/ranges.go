package cell

import (
	"net/netip"
	"sync"
)

// A specialRange is one that a literal rule opens only by lying inside it, and
// that a name leads into only by leave of responseIpAllowlist.
type specialRange struct {
	prefix netip.Prefix
	what   string
	never  bool // no name may lead here at all
}

// special lists the ranges of the contract, the narrower before the wider
// (RFC 6890 and the registries that it founded).
var special = sync.OnceValue(func() []specialRange {
	cidr := netip.MustParsePrefix
	return []specialRange{
		{cidr("168.63.129.16/32"), "a metadata service", true},
		{cidr("100.100.100.200/32"), "a metadata service", true},
		{cidr("fd00:ec2::254/128"), "a metadata service", true},
		{cidr("0.0.0.0/8"), "this network, which a host takes for its loopback", true},
		{cidr("10.0.0.0/8"), "private addresses", false},
		{cidr("100.64.0.0/10"), "shared address space", false},
		{cidr("127.0.0.0/8"), "loopback", true},
		{cidr("169.254.0.0/16"), "link-local addresses", true},
		{cidr("172.16.0.0/12"), "private addresses", false},
		{cidr("192.0.0.0/24"), "protocol assignments", false},
		{cidr("192.168.0.0/16"), "private addresses", false},
		{benchmark, "bound addresses", false},
		{cidr("224.0.0.0/3"), "multicast and reserved addresses", false},
		{cidr("::/128"), "the unspecified address, which a host takes for its loopback", true},
		{cidr("::1/128"), "loopback", true},
		{cidr("64:ff9b:1::/48"), "local translation", false},
		{cidr("2001::/32"), "Teredo", false},
		{cidr("fc00::/7"), "private addresses", false},
		{cidr("fe80::/10"), "link-local addresses", true},
		{cidr("fec0::/10"), "site-local addresses", false},
		{cidr("ff00::/8"), "multicast addresses", false},
	}
})

// benchmark is where bound addresses come from (RFC 2544).
var benchmark = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18}), 15)

// A SpecialRange is one that a literal rule opens only by lying inside it.
type SpecialRange struct {
	Prefix netip.Prefix
	What   string
	// Never is true if no name may lead here, whatever the document says.
	Never bool
}

// SpecialRanges lists the special ranges of the contract, the narrower before
// the wider. Addresses that embed an IPv4 address are to be held against that
// as well.
func SpecialRanges() []SpecialRange {
	list := make([]SpecialRange, len(special()))
	for i, r := range special() {
		list[i] = SpecialRange{Prefix: r.prefix, What: r.what, Never: r.never}
	}
	return list
}

// rangeOf returns the special range that p lies inside.
func rangeOf(p netip.Prefix) (specialRange, bool) {
	for _, r := range special() {
		if inside(p, r.prefix) {
			return r, true
		}
	}
	return specialRange{}, false
}

// inside reports whether every address of p is one of outer.
func inside(p, outer netip.Prefix) bool {
	return p.Bits() >= outer.Bits() && outer.Contains(p.Addr())
}

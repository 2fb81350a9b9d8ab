package plan

import (
	"net/netip"
	"slices"
	"sync"

	"cellos.io/cellos/cell"
)

// Prefixes of IPv6 addresses that embed an IPv4 address: mapped (RFC 4291),
// translated (RFC 6052) and 6to4 (RFC 3056).
var (
	mappedPrefix     = netip.MustParsePrefix("::ffff:0:0/96")
	translatedPrefix = netip.MustParsePrefix("64:ff9b::/96")
	sixToFourPrefix  = netip.MustParsePrefix("2002::/16")
)

// Embedded returns the IPv4 address that a connection to addr may end at, or
// addr itself.
func Embedded(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	b := addr.As16()
	switch {
	case addr.Is4():
	case translatedPrefix.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFourPrefix.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

var specialRanges = sync.OnceValue(cell.SpecialRanges)

// Permits reports whether a name may lead to an address that it was resolved
// to: one that is in no special range, or in one that is merely private and
// that the document's responseIpAllowlist covers. Whether the address is one
// of the host's own is not for a plan to know.
func (n *Network) Permits(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() {
		return false
	}
	inner := Embedded(addr)
	for _, r := range specialRanges() {
		switch {
		case !r.Prefix.Contains(addr) && !r.Prefix.Contains(inner):
		case r.Never || !n.Covers(addr):
			return false
		}
	}
	return true
}

// Covers reports whether the document's responseIpAllowlist covers an address,
// or the IPv4 address that it embeds.
func (n *Network) Covers(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	inner := Embedded(addr)
	return slices.ContainsFunc(n.ResponseAllow, func(p netip.Prefix) bool {
		return p.Contains(addr) || p.Contains(inner)
	})
}

// closedTo returns the special ranges that a literal prefix does not open: all
// but those that it lies inside, also in the IPv6 forms of IPv4 addresses.
func closedTo(p netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	add := func(hole netip.Prefix) {
		if hole.Overlaps(p) && !(hole.Bits() <= p.Bits() && hole.Contains(p.Addr())) {
			list = append(list, hole)
		}
	}
	for _, r := range specialRanges() {
		add(r.Prefix)
		if r.Prefix.Addr().Is4() {
			add(translated(r.Prefix))
			add(sixToFour(r.Prefix))
		}
	}
	if mappedPrefix.Overlaps(p) {
		list = append(list, mappedPrefix) // no packet has such a destination
	}
	// A prefix that lies inside a translated or 6to4 form of a range was let
	// through as a whole; one that lies inside the bound space never is.
	if boundPrefix4.Overlaps(p) {
		list = append(list, boundPrefix4)
	}
	if boundPrefix6.Overlaps(p) {
		list = append(list, boundPrefix6)
	}
	return list
}

func translated(p netip.Prefix) netip.Prefix {
	b, v4 := translatedPrefix.Addr().As16(), p.Addr().As4()
	copy(b[12:], v4[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 96+p.Bits())
}

func sixToFour(p netip.Prefix) netip.Prefix {
	b, v4 := sixToFourPrefix.Addr().As16(), p.Addr().As4()
	copy(b[2:], v4[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 16+p.Bits())
}

package plan

import "net/netip"

// A span is a range of addresses of one family, both ends included.
type span struct{ first, last netip.Addr }

func spanOf(p netip.Prefix) span {
	return span{p.Masked().Addr(), lastOf(p)}
}

// lastOf is the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// without returns what is left of spans, which are disjoint and in order, when
// a hole is taken out.
func without(spans []span, hole span) []span {
	var left []span
	for _, s := range spans {
		if s.first.BitLen() != hole.first.BitLen() || hole.last.Less(s.first) || s.last.Less(hole.first) {
			left = append(left, s)
			continue
		}
		if s.first.Less(hole.first) {
			left = append(left, span{s.first, hole.first.Prev()})
		}
		if hole.last.Less(s.last) {
			left = append(left, span{hole.last.Next(), s.last})
		}
	}
	return left
}

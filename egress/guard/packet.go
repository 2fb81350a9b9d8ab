package guard

import (
	"encoding/binary"
	"net/netip"
)

// A Refusal is a packet that the firewall refused.
type Refusal struct {
	Protocol uint8
	// Src and Dst have port 0 for protocols without ports, and for fragments
	// behind the first.
	Src, Dst netip.AddrPort
}

// Numbers of IP protocols and extension headers.
const (
	protoTCP, protoUDP, protoSCTP, protoUDPLite, protoDCCP = 6, 17, 132, 136, 33

	extHopByHop, extRouting, extFragment, extDestination, extAuth, extMobility = 0, 43, 44, 60, 51, 135
)

// maxExtensions bounds the extension headers of one packet.
const maxExtensions = 8

// parsePacket reads the head of an IP packet (RFC 791, RFC 8200).
func parsePacket(b []byte) (r Refusal, ok bool) {
	if len(b) < 20 {
		return r, false
	}
	var src, dst netip.Addr
	var rest []byte
	first := true // not a later fragment
	switch b[0] >> 4 {
	case 4:
		n := int(b[0]&0xf) * 4
		if n < 20 || len(b) < n {
			return r, false
		}
		r.Protocol = b[9]
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		first = binary.BigEndian.Uint16(b[6:])&0x1fff == 0
		rest = b[n:]
	case 6:
		if len(b) < 40 {
			return r, false
		}
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		r.Protocol, rest, first = skipExtensions(b[6], b[40:])
	default:
		return r, false
	}
	var from, to uint16
	switch r.Protocol {
	case protoTCP, protoUDP, protoSCTP, protoUDPLite, protoDCCP:
		if first && len(rest) >= 4 {
			from, to = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
		}
	}
	r.Src, r.Dst = netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to)
	return r, true
}

// skipExtensions returns the protocol behind the extension headers of IPv6,
// what follows, and whether that is its beginning.
func skipExtensions(next uint8, b []byte) (proto uint8, rest []byte, first bool) {
	first = true
	for range maxExtensions {
		if len(b) < 8 {
			return next, nil, first
		}
		n := 8
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility:
			n += int(b[1]) * 8
		case extAuth:
			n = (int(b[1]) + 2) * 4
		case extFragment:
			first = first && binary.BigEndian.Uint16(b[2:])>>3 == 0
		default:
			return next, b, first
		}
		if n > len(b) {
			return b[0], nil, first
		}
		next, b = b[0], b[n:]
	}
	return next, nil, first
}

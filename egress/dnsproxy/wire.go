package dnsproxy

import "encoding/binary"

// Sizes of RFC 1035, section 2.3.4, and of the message header.
const (
	headerLen   = 12
	maxWireName = 255
	maxLabel    = 63
	maxMessage  = 65535
)

// maxUDP is the largest datagram that is sent or accepted: what crosses any
// path unfragmented, as the DNS flag day of 2020 agreed on.
const maxUDP = 1232

// plainUDP is the largest response to a client without EDNS (RFC 1035, 4.2.1).
const plainUDP = 512

// Bits of the second header word.
const (
	flagQR     = 1 << 15
	maskOpcode = 0xf << 11
	flagTC     = 1 << 9
	flagRD     = 1 << 8
	flagRA     = 1 << 7
	maskRcode  = 0xf
)

// classIN is the only class that is served.
const classIN = 1

// questionPointer is a compressed name that stands for the name in the
// question (RFC 1035, 4.1.4): the question always starts behind the header.
const questionPointer = 0xc000 | headerLen

// Response codes (RFC 1035, RFC 6891).
const (
	RcodeSuccess        = 0
	RcodeFormatError    = 1
	RcodeServerFailure  = 2
	RcodeNameError      = 3 // NXDOMAIN
	RcodeNotImplemented = 4
	RcodeRefused        = 5
	rcodeBadVersion     = 16
)

var be = binary.BigEndian

// lower maps the ASCII upper-case letters to lower case, and nothing else:
// DNS compares names that way (RFC 4343).
func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + ('a' - 'A')
	}
	return b
}

// hostByte maps a byte of a queried label to lower case, and to 0 if it has no
// place in a host name. Underscore labels name services (RFC 8552).
var hostByte = func() (t [256]byte) {
	for b := range t {
		switch {
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '_':
			t[b] = byte(b)
		case 'A' <= b && b <= 'Z':
			t[b] = byte(b) + ('a' - 'A')
		}
	}
	return t
}()

// caseBits has one bit per byte of a name in wire form: set where a letter is
// upper case.
type caseBits [4]uint64

func (c *caseBits) set(i int)      { c[i>>6] |= 1 << (i & 63) }
func (c *caseBits) has(i int) bool { return c[i>>6]>>(i&63)&1 != 0 }

// appendCased appends a lower-case name in wire form with the letter case that
// upper asks for.
func appendCased(b, wire []byte, upper *caseBits) []byte {
	start := len(b)
	b = append(b, wire...)
	if *upper == (caseBits{}) {
		return b
	}
	name := b[start:]
	// A length byte is at most 63 and so never taken for a letter.
	for i, c := range name {
		if 'a' <= c && c <= 'z' && upper.has(i) {
			name[i] = c - ('a' - 'A')
		}
	}
	return b
}

// appendQuestion appends a question in class IN.
func appendQuestion(b, wire []byte, upper *caseBits, kind uint16) []byte {
	b = appendCased(b, wire, upper)
	b = be.AppendUint16(b, kind)
	return be.AppendUint16(b, classIN)
}

// appendHeader appends a message header.
func appendHeader(b []byte, id, flags, qd, an, ns, ar uint16) []byte {
	b = be.AppendUint16(b, id)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, qd)
	b = be.AppendUint16(b, an)
	b = be.AppendUint16(b, ns)
	return be.AppendUint16(b, ar)
}

package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// The bound space is where the addresses of names come from. For IPv4 it is
// the range for benchmarks (RFC 2544), which no public network uses and which
// no sane site routes. For IPv6 it is one unique local prefix (RFC 4193), the
// same in every cell since it never leaves one; its forty bits spell "cello".
//
// The lower half of the IPv4 space is for exact names, the upper half for
// wildcards. An IPv6 bound address has the IPv4 one in its last 32 bits, so
// that the two halves of a name are found by one look-up and read as one.
var (
	boundPrefix4 = netip.MustParsePrefix("198.18.0.0/15")
	boundPrefix6 = netip.MustParsePrefix("fd63:656c:6c6f::/48")
	names6       = netip.MustParsePrefix("fd63:656c:6c6f:1::/96")

	own4   = netip.MustParseAddr("198.18.0.1")
	own6   = netip.MustParseAddr("fd63:656c:6c6f::1")
	relay4 = netip.MustParseAddrPort("198.18.0.2:1")
	relay6 = netip.MustParseAddrPort("[fd63:656c:6c6f::2]:1")
)

const (
	boundBase = 198<<24 | 18<<16
	// reserved is 198.18.0.0/28: the cell's own address and its gateways.
	reserved  = 16
	halfSpace = 1 << 16

	// A wildcard has room for 1024 names, or for fewer when a document has
	// more wildcards than would fit into three quarters of their half: a
	// full table would make the order of probing matter, not the hash.
	maxRangeBits = 10
	minRangeBits = 4
	fill         = halfSpace / 4 * 3
)

// maxNames and maxWildcards bound what has addresses of its own.
const (
	maxNames     = fill
	maxWildcards = fill >> minRangeBits
)

// IsBoundSpace reports whether an address lies where those of names come from.
func IsBoundSpace(addr netip.Addr) bool {
	return boundPrefix4.Contains(addr) || boundPrefix6.Contains(addr)
}

// boundOffset returns the IPv4 form of an address that may be bound.
func boundOffset(addr netip.Addr) (netip.Addr, bool) {
	if addr.Is4() {
		return addr, boundPrefix4.Contains(addr)
	}
	if !names6.Contains(addr) {
		return netip.Addr{}, false
	}
	b := addr.As16()
	v4 := netip.AddrFrom4([4]byte(b[12:]))
	return v4, boundPrefix4.Contains(v4)
}

// Bound6 is the IPv6 form of a bound IPv4 address.
func Bound6(v4 netip.Addr) netip.Addr {
	b, last := names6.Addr().As16(), v4.As4()
	copy(b[12:], last[:])
	return netip.AddrFrom16(b)
}

// nameHash is where the search for a free address begins. It depends on the
// name alone, so that an address which a program has kept from another run is
// not another name's in this one, but for a collision.
func nameHash(name string) uint32 {
	sum := sha256.Sum256([]byte("cellos bound address v1\x00" + name))
	return binary.BigEndian.Uint32(sum[:])
}

// allocator gives out the bound space.
type allocator struct {
	taken     map[uint32]bool // offsets of exact names
	rangeBits int
	ranges    map[uint32]bool // numbers of ranges
}

// newAllocator makes room for a number of wildcards.
func newAllocator(wildcards int) *allocator {
	a := &allocator{taken: make(map[uint32]bool), ranges: make(map[uint32]bool), rangeBits: maxRangeBits}
	for a.rangeBits > minRangeBits && wildcards<<a.rangeBits > fill {
		a.rangeBits--
	}
	return a
}

// name returns the address of an exact name. There is a free one as long as
// fewer than maxNames were given out.
func (a *allocator) name(name string) netip.Prefix {
	const room = halfSpace - reserved
	offset := nameHash(name) % room
	for a.taken[offset] {
		offset = (offset + 1) % room
	}
	a.taken[offset] = true
	return netip.PrefixFrom(at(reserved+offset), 32)
}

// wildcard returns the range of a pattern.
func (a *allocator) wildcard(pattern string) netip.Prefix {
	count := uint32(halfSpace) >> a.rangeBits
	n := nameHash(pattern) % count
	for a.ranges[n] {
		n = (n + 1) % count
	}
	a.ranges[n] = true
	return netip.PrefixFrom(at(halfSpace+n<<a.rangeBits), 32-a.rangeBits)
}

// at is the address at an offset of the bound space.
func at(offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], boundBase+offset)
	return netip.AddrFrom4(b)
}

// Candidate is the i-th address, from 0, at which a name looks for a place in
// the range of the wildcard that covers it.
func (b *Bound) Candidate(name string, i int) netip.Addr {
	size := uint32(b.Size())
	first := binary.BigEndian.Uint32(b.V4.Addr().AsSlice())
	var addr [4]byte
	binary.BigEndian.PutUint32(addr[:], first+(nameHash(name)+uint32(i))%size)
	return netip.AddrFrom4(addr)
}

// Size is the number of addresses of each family.
func (b *Bound) Size() int { return 1 << (32 - b.V4.Bits()) }

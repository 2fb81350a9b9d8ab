package egress

import (
	"net/netip"
	"strings"
	"sync"

	"cellos.io/cellos/plan"
)

// ownName is the host name of every cell.
const ownName = "cell"

// Names are the addresses of a cell's names. Their number is bounded by the
// ranges of the plan, and none is ever given to another name.
type Names struct {
	plan     *plan.Network
	isHost   func(netip.Addr) (bool, error) // set by Open
	patterns map[string]int                 // index in plan.Bound

	mu    sync.Mutex
	taken map[string]netip.Addr // by name under a wildcard, the IPv4 form
	names map[netip.Addr]string
}

// NewNames returns the names of a plan.
func NewNames(n *plan.Network) *Names {
	s := &Names{
		plan: n, patterns: make(map[string]int, len(n.Bound)),
		taken: make(map[string]netip.Addr), names: make(map[netip.Addr]string),
	}
	for i := range n.Bound {
		s.patterns[n.Bound[i].Name] = i
	}
	return s
}

// Bind returns the addresses that stand for an allowed name; v6 is invalid in
// a cell without IPv6. A name under a wildcard has them from its first Bind on.
// It returns false when the wildcard has none left, or does not exist.
func (s *Names) Bind(name string) (v4, v6 netip.Addr, ok bool) {
	if i, exact := s.patterns[name]; exact {
		b := &s.plan.Bound[i]
		return b.V4.Addr(), b.V6.Addr(), true
	}
	b := s.wildcard(name)
	if b == nil {
		return netip.Addr{}, netip.Addr{}, false
	}
	if v4, ok = s.take(name, b); !ok {
		return netip.Addr{}, netip.Addr{}, false
	}
	if b.V6.IsValid() {
		v6 = plan.Bound6(v4)
	}
	return v4, v6, true
}

// wildcard is the most specific one that covers a name.
func (s *Names) wildcard(name string) *plan.Bound {
	for rest, more := name, true; more; {
		if _, rest, more = strings.Cut(rest, "."); !more {
			break
		}
		if i, ok := s.patterns["*."+rest]; ok {
			return &s.plan.Bound[i]
		}
	}
	return nil
}

func (s *Names) take(name string, b *plan.Bound) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr, ok := s.taken[name]; ok {
		return addr, true
	}
	for i := range b.Size() {
		addr := b.Candidate(name, i)
		if _, used := s.names[addr]; used {
			continue
		}
		name = strings.Clone(name) // it may be part of a message
		s.taken[name], s.names[addr] = addr, name
		return addr, true
	}
	return netip.Addr{}, false
}

// NameOf returns the name that an address stands for.
func (s *Names) NameOf(addr netip.Addr) (name string, ok bool) {
	i, ok := s.plan.Locate(addr)
	if !ok {
		return "", false
	}
	b := &s.plan.Bound[i]
	if b.Size() == 1 {
		return b.Name, true
	}
	if addr.Is6() {
		last := addr.As16()
		addr = netip.AddrFrom4([4]byte(last[12:]))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok = s.names[addr]
	return name, ok
}

// Reverse is NameOf for the cell's own addresses as well.
func (s *Names) Reverse(addr netip.Addr) (name string, ok bool) {
	if addr == s.plan.Own4 || addr == s.plan.Own6 && addr.IsValid() {
		return ownName, true
	}
	return s.NameOf(addr)
}

// Permits reports whether a name may lead to an address that it was resolved
// to. The host's own addresses are special ranges as well, but for those that
// the document covers.
func (s *Names) Permits(addr netip.Addr) bool {
	if !s.plan.Permits(addr) {
		return false
	}
	if s.isHost == nil || s.plan.Covers(addr) {
		return true
	}
	host, err := s.isHost(addr)
	return err == nil && !host
}

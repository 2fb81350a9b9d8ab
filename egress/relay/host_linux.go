package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
)

// A HostRoutes knows which addresses are the host's own: it asks the routing
// table each time, so that no list of them can be out of date.
type HostRoutes struct{ conn *netlink.Conn }

// OpenHostRoutes asks in the network namespace of the calling thread.
func OpenHostRoutes() (*HostRoutes, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &HostRoutes{c}, nil
}

// IsHost reports whether a packet for an address would end at this host, or go
// to more than one.
func (h *HostRoutes) IsHost(addr netip.Addr) (bool, error) {
	family := byte(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	msg := make([]byte, unix.SizeofRtMsg)
	msg[0], msg[1] = family, byte(addr.BitLen())
	var b netlink.Builder
	b.Message(unix.RTM_GETROUTE, unix.NLM_F_REQUEST|unix.NLM_F_ACK, msg)
	b.Bytes(unix.RTA_DST, addr.AsSlice())
	found, own := false, false
	err := h.conn.Request(&b, func(m netlink.Message) error {
		if m.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
			return netlink.ErrMessage
		}
		found = true
		switch m.Data[7] { // rtm_type
		case unix.RTN_UNICAST, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		default:
			own = true
		}
		return nil
	})
	switch {
	case err == nil && found:
		return own, nil
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EINVAL):
		// There is no way to it, which the dial will find as well: unreachable,
		// prohibited and blackhole routes are reported as errors.
		return false, nil
	case err == nil:
		err = netlink.ErrMessage
	}
	return false, fmt.Errorf("look up the route to %s: %w", addr, err)
}

// Close closes the socket.
func (h *HostRoutes) Close() error { return h.conn.Close() }

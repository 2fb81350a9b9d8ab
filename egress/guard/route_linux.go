package guard

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

// loIndex is the index of lo, which the kernel makes first in a namespace.
const loIndex = 1

// Configure brings lo up with the cell's own addresses and makes every other
// address local too. The socket is of NETLINK_ROUTE in the namespace.
func Configure(c *netlink.Conn, n *plan.Network) error {
	if err := linkUp(c); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	for _, own := range []netip.Addr{n.Own4, n.Own6} {
		if !own.IsValid() {
			continue
		}
		if err := addAddress(c, own); err != nil {
			return fmt.Errorf("add %s to lo: %w", own, err)
		}
		if err := addRoute(c, own); err != nil {
			return fmt.Errorf("make addresses local, with source %s: %w", own, err)
		}
	}
	return nil
}

const create = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL

// linkUp sets IFF_UP on lo (struct ifinfomsg).
func linkUp(c *netlink.Conn) error {
	msg := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(msg[4:], loIndex)
	binary.NativeEndian.PutUint32(msg[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(msg[12:], unix.IFF_UP) // the flags to change
	var b netlink.Builder
	b.Message(unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, msg)
	return c.Execute(&b)
}

// addAddress adds a single address (struct ifaddrmsg). With it on an interface
// that is no loopback address, resolvers see both families (AI_ADDRCONFIG).
func addAddress(c *netlink.Conn, addr netip.Addr) error {
	msg := make([]byte, unix.SizeofIfAddrmsg)
	msg[0], msg[1] = family(addr), byte(addr.BitLen())
	binary.NativeEndian.PutUint32(msg[4:], loIndex)
	var b netlink.Builder
	b.Message(unix.RTM_NEWADDR, create, msg)
	b.Bytes(unix.IFA_LOCAL, addr.AsSlice())
	b.Bytes(unix.IFA_ADDRESS, addr.AsSlice())
	b.U32(unix.IFA_FLAGS, unix.IFA_F_NODAD|unix.IFA_F_PERMANENT)
	return c.Execute(&b)
}

// addRoute adds "local default dev lo src ADDR" to the local table (struct
// rtmsg). Without the source a client's address would equal its destination,
// and a TCP connection to a refused port could be one to itself.
func addRoute(c *netlink.Conn, src netip.Addr) error {
	msg := make([]byte, unix.SizeofRtMsg)
	msg[0] = family(src)
	msg[4], msg[5], msg[6], msg[7] = unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RT_SCOPE_HOST, unix.RTN_LOCAL
	var b netlink.Builder
	b.Message(unix.RTM_NEWROUTE, create, msg)
	b.U32(unix.RTA_OIF, loIndex)
	b.Bytes(unix.RTA_PREFSRC, src.AsSlice())
	return c.Execute(&b)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
)

const (
	dnsPort = 53
	// backlog is the queue of a listener (listen(2)).
	backlog = 4096
)

// openResolver opens the sockets at which the workload's queries arrive. A
// wildcard socket receives those to any address, which are all local, and
// learns from each datagram at which it was asked (IP_PKTINFO, ip(7)), so that
// the answer can come from there.
func (n *Network) openResolver(ctx context.Context) (err error) {
	if n.opts.Plan.Resolver {
		at := []netip.Addr{netip.IPv4Unspecified()}
		if n.opts.Plan.Own6.IsValid() {
			at = append(at, netip.IPv6Unspecified())
		}
		for _, a := range at {
			s, err := n.serverSockets(ctx, netip.AddrPortFrom(a, dnsPort))
			if err != nil {
				return err
			}
			n.UDP, n.TCP = append(n.UDP, s.UDP), append(n.TCP, s.TCP)
		}
	}
	for _, d := range n.opts.Plan.Servers {
		s, err := n.serverSockets(ctx, d.Addr)
		if err != nil {
			return err
		}
		n.Servers = append(n.Servers, s)
	}
	return nil
}

func (n *Network) closeResolver() {
	for _, c := range n.UDP {
		c.Close()
	}
	for _, l := range n.TCP {
		l.Close()
	}
	for _, s := range n.Servers {
		s.UDP.Close()
		s.TCP.Close()
	}
}

// serverSockets listens for DNS at an address.
func (n *Network) serverSockets(ctx context.Context, addr netip.AddrPort) (s ServerSockets, err error) {
	s.Addr = addr
	udp, tcp := cellinit.UDP4, cellinit.TCP4
	if addr.Addr().Is6() {
		udp, tcp = cellinit.UDP6, cellinit.TCP6
	}
	f, err := n.bound(ctx, udp, addr)
	if err != nil {
		return s, fmt.Errorf("listen for queries to udp %s in the cell: %w", addr, err)
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return s, err
	}
	s.UDP = conn.(*net.UDPConn)
	f, err = n.bound(ctx, tcp, addr)
	if err != nil {
		s.UDP.Close()
		return s, fmt.Errorf("listen for queries to tcp %s in the cell: %w", addr, err)
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		s.UDP.Close()
		return s, err
	}
	s.TCP = l.(*net.TCPListener)
	return s, nil
}

// bound returns a socket of the cell that is bound to an address, and that
// listens if it is of TCP.
func (n *Network) bound(ctx context.Context, kind cellinit.SocketKind, addr netip.AddrPort) (*os.File, error) {
	f, err := n.opts.Cell.Socket(ctx, kind)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = n.bind(int(fd), kind, addr) })
		if cerr != nil {
			err = cerr
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (n *Network) bind(fd int, kind cellinit.SocketKind, addr netip.AddrPort) error {
	options := []option{{unix.SOL_IP, unix.IP_FREEBIND}}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: [4]byte(addr.Addr().AsSlice()[:4])}
	if addr.Addr().Is6() {
		options = []option{{unix.SOL_IPV6, unix.IPV6_V6ONLY}, {unix.SOL_IPV6, unix.IPV6_FREEBIND}}
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	switch kind {
	case cellinit.UDP4:
		options = append(options, option{unix.SOL_IP, unix.IP_PKTINFO})
	case cellinit.UDP6:
		options = append(options, option{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO})
	}
	if len(n.opts.Plan.Servers) > 0 {
		// The socket of a server stands beside the wildcard's, and has the
		// queries to its address.
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if kind == cellinit.TCP4 || kind == cellinit.TCP6 {
		return os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	return nil
}

type option struct{ level, name int }

package relay

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// backlog is the queue of a listener (listen(2)); the kernel cuts it to
// net.core.somaxconn.
const backlog = 4096

// Listen makes a plain TCP socket of the cell a transparent listener, to which
// the firewall hands connections to any address (IP_TRANSPARENT, ip(7)). It
// takes the socket over.
func Listen(f *os.File, addr netip.AddrPort) (*net.TCPListener, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	if cerr := raw.Control(func(fd uintptr) { err = listen(int(fd), addr) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the connections of the cell at %s: %w", addr, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

func listen(fd int, addr netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	var sa unix.Sockaddr
	if addr.Addr().Is4() {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	} else {
		for _, option := range []int{unix.IPV6_V6ONLY, unix.IPV6_TRANSPARENT} {
			if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, option, 1); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

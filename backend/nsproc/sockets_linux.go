package nsproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
)

// backlog is the queue of a listener in the cell (listen(2)); the kernel cuts
// it to net.core.somaxconn.
const backlog = 4096

// ListenUDP opens a socket at an address inside the cell's network namespace.
func (c *Cell) ListenUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	f, err := c.bound("udp", addr)
	if err != nil {
		return nil, listenError("udp", addr, err)
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, listenError("udp", addr, err)
	}
	return conn.(*net.UDPConn), nil
}

// ListenTCP opens a listener at an address inside the cell's network
// namespace.
func (c *Cell) ListenTCP(addr netip.AddrPort) (*net.TCPListener, error) {
	f, err := c.bound("tcp", addr)
	if err != nil {
		return nil, listenError("tcp", addr, err)
	}
	defer f.Close()
	if err := onFD(f, func(fd int) error { return unix.Listen(fd, backlog) }); err != nil {
		return nil, listenError("tcp", addr, os.NewSyscallError("listen", err))
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, listenError("tcp", addr, err)
	}
	return l.(*net.TCPListener), nil
}

func listenError(network string, addr netip.AddrPort, err error) error {
	return fmt.Errorf("listen on %s %s in the cell: %w", network, addr, err)
}

// Dial connects from inside the cell's network namespace. The network is udp
// or tcp.
func (c *Cell) Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s in the cell: %w", network, addr, err)
	}
	return conn, nil
}

func (c *Cell) dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	f, err := c.socket(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	err = onFD(f, func(fd int) error { return unix.Connect(fd, sockaddr(addr)) })
	if errors.Is(err, unix.EINPROGRESS) {
		err = finishConnect(ctx, f)
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// finishConnect waits until a connection that was begun is made or refused.
func finishConnect(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(aLongTimeAgo) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		// The socket was writable before it was connecting, so that an
		// event alone says nothing; its state does.
		now := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(now, 0); err != nil || n == 0 {
			return false
		}
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = syscall.Errno(errno)
		}
		failed = err
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	return os.NewSyscallError("connect", failed)
}

// bound returns a socket of the cell bound to an address.
func (c *Cell) bound(network string, addr netip.AddrPort) (*os.File, error) {
	f, err := c.socket(context.Background(), network, addr)
	if err != nil {
		return nil, err
	}
	err = onFD(f, func(fd int) error {
		if network == "tcp" {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		if addr.Addr().Is6() {
			// As Go has it: a v6 address does not take the v4 port too.
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return os.NewSyscallError("setsockopt", err)
			}
		}
		return os.NewSyscallError("bind", unix.Bind(fd, sockaddr(addr)))
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// socket has PID 1 make a plain socket for the address's family.
func (c *Cell) socket(ctx context.Context, network string, addr netip.AddrPort) (*os.File, error) {
	if !addr.IsValid() || addr.Addr().Is4In6() || addr.Addr().Zone() != "" {
		return nil, errors.New("the address must be a plain IPv4 or IPv6 address and port")
	}
	kind := cellinit.UDP4
	switch {
	case network == "udp" && addr.Addr().Is6():
		kind = cellinit.UDP6
	case network == "tcp" && addr.Addr().Is6():
		kind = cellinit.TCP6
	case network == "tcp":
		kind = cellinit.TCP4
	case network != "udp":
		return nil, net.UnknownNetworkError(network)
	}
	return c.Socket(ctx, kind)
}

// Socket has PID 1 make a plain socket in the cell's network namespace. It is
// neither bound nor connected, and does not block. Those of netlink can be had
// only before Start.
func (c *Cell) Socket(ctx context.Context, kind cellinit.SocketKind) (*os.File, error) {
	a, err := c.control.ask(ctx, cellinit.KindSockets, cellinit.EncodeSockets([]cellinit.SocketKind{kind}))
	if err != nil {
		return nil, err
	}
	errno, err := cellinit.DecodeNumber(a.payload)
	if err == nil && a.kind == cellinit.KindSockets {
		if errno != 0 && len(a.files) == 0 {
			return nil, os.NewSyscallError("socket", syscall.Errno(errno))
		}
		if errno == 0 && len(a.files) == 1 {
			return a.files[0], nil
		}
	}
	closeAll(a.files)
	return nil, cellinit.ErrFrame
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}

// onFD runs f on the descriptor without making it blocking, as File.Fd does.
func onFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

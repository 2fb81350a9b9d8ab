package egresstest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what should happen at once.
const patience = 10 * time.Second

// Connect connects from inside the cell as a workload would, optionally from a
// source address. The error is that of connect(2).
func (c *Cell) Connect(src, dst netip.AddrPort) (*net.TCPConn, error) {
	f, err := c.Make(domainOf(dst), unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := c.connect(f, src, dst); err != nil {
		return nil, err
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func domainOf(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (c *Cell) connect(f *os.File, src, dst netip.AddrPort) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) {
		if src.IsValid() {
			if err = unix.Bind(int(fd), sockaddr(src)); err != nil {
				return
			}
		}
		err = unix.Connect(int(fd), sockaddr(dst))
	}); err != nil {
		return err
	}
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	// Only a connection that is neither made nor refused at once gets here.
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		ready, errno := false, 0
		if err := raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			n, _ := unix.Poll(p, 100)
			ready = n == 1
			if ready {
				errno, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			}
		}); err != nil {
			return err
		}
		if ready && errno != 0 {
			return syscall.Errno(errno)
		}
		if ready {
			return nil
		}
	}
	return unix.ETIMEDOUT
}

// SendTo sends a datagram from inside the cell, through a socket of a type and
// protocol, and returns the error of sendto(2).
func (c *Cell) SendTo(dst netip.AddrPort, typ, proto int, payload []byte) error {
	f, err := c.Make(domainOf(dst), typ, proto)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if typ == unix.SOCK_RAW {
		dst = netip.AddrPortFrom(dst.Addr(), 0)
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), payload, 0, sockaddr(dst)) }); cerr != nil {
		return cerr
	}
	return err
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// Listen listens inside the cell as a workload would.
func (c *Cell) Listen(t testing.TB, addr netip.AddrPort) *net.TCPListener {
	t.Helper()
	f, err := c.Make(domainOf(addr), unix.SOCK_STREAM, 0)
	must(t, err)
	defer f.Close()
	raw, err := f.SyscallConn()
	must(t, err)
	if cerr := raw.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), sockaddr(addr)); err == nil {
			err = unix.Listen(int(fd), 16)
		}
	}); cerr != nil {
		err = cerr
	}
	must(t, err)
	l, err := net.FileListener(f)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

package egresstest

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/testenv"
)

// Addresses of the outside. Those of the host end in 1.
var (
	Server4     = netip.MustParseAddr("203.0.113.10")
	ServerB4    = netip.MustParseAddr("203.0.113.11")
	Server6     = netip.MustParseAddr("2001:db8::10")
	Private4    = netip.MustParseAddr("10.9.0.10")
	Unreachable = netip.MustParseAddr("203.0.113.200")
	Host4       = netip.MustParseAddr("203.0.113.1")
)

var (
	hostAddrs    = []string{"203.0.113.1/24", "2001:db8::1/64", "10.9.0.1/24"}
	outsideAddrs = []string{"203.0.113.10/24", "203.0.113.11/24", "2001:db8::10/64", "10.9.0.10/24"}
)

// An Outside is the network beyond the host.
type Outside struct{ do chan func() }

// NewOutside makes the outside and the link to it. Both end with the test.
func NewOutside(t testing.TB) *Outside {
	t.Helper()
	o := &Outside{do: make(chan func())}
	started := make(chan error)
	var ns int
	go func() {
		// The thread is in the outside for good, and ends with the
		// goroutine because it is never unlocked.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		started <- err
		for f := range o.do {
			f()
		}
	}()
	if err := <-started; err != nil {
		close(o.do)
		testenv.Need(t, "netns")
		t.Fatalf("make the outside: %v", err)
	}
	defer unix.Close(ns)
	t.Cleanup(func() { close(o.do) })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "host"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "outside", PeerNamespace: netlink.NsFd(ns)}
	must(t, netlink.LinkAdd(veth))
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("host"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	must(t, up("lo", nil))
	must(t, up("host", hostAddrs))
	var err error
	o.Do(func() { err = errors.Join(up("lo", nil), up("outside", outsideAddrs)) })
	must(t, err)
	return o
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(name string, addrs []string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// Do runs f on a thread that is in the outside.
func (o *Outside) Do(f func()) {
	done := make(chan struct{})
	o.do <- func() { defer close(done); f() }
	<-done
}

// Listen listens in the outside, until the end of the test.
func (o *Outside) Listen(t testing.TB, addr netip.AddrPort) *net.TCPListener {
	t.Helper()
	var l *net.TCPListener
	var err error
	o.Do(func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)) })
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP listens in the outside, until the end of the test.
func (o *Outside) ListenUDP(t testing.TB, addr netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	var err error
	o.Do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr)) })
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// Nameservers are the resolvers that a plan finds on the host.
var Nameservers = []netip.AddrPort{netip.AddrPortFrom(Server4, 53)}

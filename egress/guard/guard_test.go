package guard_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/egress/egresstest"
	"cellos.io/cellos/egress/guard"
	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

func TestMain(m *testing.M) { os.Exit(egresstest.Main(m)) }

// guarded is a cell whose firewall is loaded.
type guarded struct {
	*egresstest.Cell
	plan    *plan.Network
	nft     *netlink.Conn
	mu      sync.Mutex
	refused []guard.Refusal
	log     *guard.Refusals
	ended   chan error
}

func newGuarded(t testing.TB, n *plan.Network) *guarded {
	t.Helper()
	g := &guarded{Cell: egresstest.NewCell(t), plan: n, ended: make(chan error, 1)}
	route := g.netlink(t, unix.NETLINK_ROUTE)
	if err := guard.Configure(route, n); err != nil {
		t.Fatal(err)
	}
	g.nft = g.netlink(t, unix.NETLINK_NETFILTER)
	if err := guard.Load(g.nft, n.Rules()); err != nil {
		t.Fatal(err)
	}
	f, err := g.Make(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	if g.log, err = guard.OpenRefusals(f); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.ended <- g.log.Read(func(r guard.Refusal) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.refused = append(g.refused, r)
		})
	}()
	t.Cleanup(func() { g.log.Close() })
	return g
}

func (g *guarded) netlink(t testing.TB, protocol int) *netlink.Conn {
	t.Helper()
	f, err := g.Make(unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	if err != nil {
		t.Fatal(err)
	}
	c, err := netlink.NewConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// refusals ends the log and returns what it had.
func (g *guarded) refusals(t testing.TB) []guard.Refusal {
	t.Helper()
	g.log.End()
	if err := <-g.ended; err != nil {
		t.Fatal(err)
	}
	return g.refused
}

const someNames = `egressRules: [{host: api.example.com, port: 443, protocol: tcp}, {host: "*.example.org", port: 443, protocol: tcp},
	{host: 203.0.113.0/24, port: 8443, protocol: tcp}, {host: "2001:db8::/32", port: 8443, protocol: tcp}]`

// What is loaded is what is listed, for any plan.
func TestLoadAndVerify(t *testing.T) {
	for _, authority := range []string{
		"secretRefs: []",
		someNames,
		`egressRules: [{host: 0.0.0.0/0, port: 80, protocol: tcp}, {host: "::/0", port: 80, protocol: tcp}, {host: 192.0.2.53, port: 53, protocol: dns}]`,
	} {
		for _, v6 := range []bool{true, false} {
			if !v6 && authority != someNames {
				authority = "secretRefs: []"
			}
			n := egresstest.PlanFor(t, authority, v6)
			g := newGuarded(t, n)
			if err := guard.Verify(g.nft, n.Rules()); err != nil {
				t.Error(err)
			}
			rules := n.Rules()
			rules.Chains[1].Rules = rules.Chains[1].Rules[1:]
			if err := guard.Verify(g.nft, rules); !errors.Is(err, guard.ErrDiffers) {
				t.Errorf("a missing rule is not noticed: %v", err)
			}
		}
	}
}

// Everything undeclared fails with an errno, and is counted and logged.
func TestRefusals(t *testing.T) {
	g := newGuarded(t, egresstest.Plan(t, someNames))
	api := g.plan.Bound[0].V4.Addr()
	none := netip.AddrPort{}
	port := netip.AddrPortFrom
	connects := []struct {
		name     string
		src, dst netip.AddrPort
	}{
		{"v4", none, netip.MustParseAddrPort("203.0.113.10:443")},
		{"v6", none, netip.MustParseAddrPort("[2001:db8::10]:443")},
		{"mapped", none, netip.MustParseAddrPort("[::ffff:203.0.113.10]:443")},
		{"NAT64", none, netip.MustParseAddrPort("[64:ff9b::203.0.113.10]:443")},
		{"another port", none, port(api, 80)},
		{"unbound", none, netip.MustParseAddrPort("198.18.0.9:443")},
		{"relay", none, g.plan.Relay4},
		{"relay v6", none, g.plan.Relay6},
		{"private", none, netip.MustParseAddrPort("10.0.0.1:443")},
		{"link-local", none, netip.MustParseAddrPort("169.254.169.254:80")},
		{"multicast", none, netip.MustParseAddrPort("224.0.0.1:80")},
		{"source of another", netip.MustParseAddrPort("203.0.113.10:0"), port(api, 443)},
		{"source of another, v6", netip.MustParseAddrPort("[2001:db8::1]:0"), port(g.plan.Bound[0].V6.Addr(), 443)},
	}
	want := 0
	for _, c := range connects {
		conn, err := g.Connect(c.src, c.dst)
		if err == nil {
			conn.Close()
			t.Errorf("%s: connected to %v", c.name, c.dst)
			continue
		}
		switch {
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL):
			t.Logf("%s: %v, without a packet", c.name, err)
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM), errors.Is(err, unix.EHOSTUNREACH):
			want++
		default:
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range []struct {
		name       string
		dst        netip.AddrPort
		typ, proto int
	}{
		{"UDP", netip.MustParseAddrPort("203.0.113.10:4433"), unix.SOCK_DGRAM, 0},
		{"UDP v6", netip.MustParseAddrPort("[2001:db8::10]:4433"), unix.SOCK_DGRAM, 0},
		{"UDP to a name", port(api, 443), unix.SOCK_DGRAM, 0},
		{"ICMP", netip.MustParseAddrPort("203.0.113.10:0"), unix.SOCK_RAW, unix.IPPROTO_ICMP},
		{"ICMPv6", netip.MustParseAddrPort("[2001:db8::10]:0"), unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		{"SCTP", netip.MustParseAddrPort("203.0.113.10:0"), unix.SOCK_RAW, unix.IPPROTO_SCTP},
	} {
		err := g.SendTo(c.dst, c.typ, c.proto, []byte{8, 0, 0, 0, 0, 0, 0, 0})
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want EPERM", c.name, err)
			continue
		}
		want++
	}
	counted, err := guard.Refused(g.nft)
	if err != nil {
		t.Fatal(err)
	}
	logged := g.refusals(t)
	for _, r := range logged {
		t.Log(r)
	}
	if int(counted) != want || len(logged) != want {
		t.Errorf("%d refused, %d counted, %d logged", want, counted, len(logged))
	}
}

// The cell's own addresses and loopback are its own business.
func TestOwnLoopback(t *testing.T) {
	g := newGuarded(t, egresstest.Plan(t, "secretRefs: []"))
	for _, addr := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.9.9.9"), netip.IPv6Loopback(), g.plan.Own4, g.plan.Own6} {
		l := g.Listen(t, netip.AddrPortFrom(addr, 443))
		conn, err := g.Connect(netip.AddrPort{}, l.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			t.Errorf("connect to %v: %v", addr, err)
			continue
		}
		conn.Close()
	}
	// Nobody listens: at once, and no refusal of the firewall.
	if _, err := g.Connect(netip.AddrPort{}, netip.AddrPortFrom(g.plan.Own4, 9)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port of the cell itself: %v", err)
	}
	if n, err := guard.Refused(g.nft); err != nil || n != 0 {
		t.Errorf("%d refusals, %v", n, err)
	}
}

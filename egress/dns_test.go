package egress_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"cellos.io/cellos/egress/dnsproxy"
)

// resolverFor serves a stage's queries with the proxy, whose upstream is in the
// outside.
func resolverFor(s *stage, names []string) *dnsproxy.Proxy {
	s.t.Helper()
	pc := s.outside.ListenUDP(s.t, netip.MustParseAddrPort("203.0.113.10:53"))
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, err := dns.NewRR(q.Question[0].Name + " 60 IN A 203.0.113.10")
			if err != nil {
				s.t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	ready := make(chan struct{})
	server.NotifyStartedFunc = func() { close(ready) }
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ActivateAndServe() })
	<-ready
	p, err := dnsproxy.New(dnsproxy.Config{
		Names: names, Bound: s.names, Deny: dnsproxy.DenyNXDomain,
		Upstreams: []dnsproxy.Upstream{{ID: "up", Protocol: dnsproxy.Do53UDP, Dial: func(ctx context.Context, network string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, "203.0.113.10:53")
		}}},
		Record: func(dnsproxy.Verdict) error { return nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range s.network.UDP {
		wg.Go(func() {
			if err := p.ServeUDP(c); err != nil {
				s.t.Error(err)
			}
		})
	}
	for _, l := range s.network.TCP {
		wg.Go(func() {
			if err := p.ServeTCP(l); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.t.Cleanup(func() {
		p.Close()
		_ = server.Shutdown()
		wg.Wait()
	})
	return p
}

// Queries to port 53 of any address are answered, from that address.
func TestResolverAnswersEverywhere(t *testing.T) {
	s := newStage(t, authority, names)
	resolverFor(s, []string{"api.example.com", "*.example.org"})
	want, _, _ := s.names.Bind("api.example.com")
	for _, addr := range []string{
		"127.0.0.1:53", "127.0.0.53:53", "8.8.8.8:53", "203.0.113.10:53", "198.18.0.1:53", "10.0.0.1:53",
		"[::1]:53", "[2001:4860:4860::8888]:53", "[fd63:656c:6c6f::1]:53", "[fe00::1]:53",
	} {
		for _, network := range []string{"udp", "tcp"} {
			conn := s.dnsConn(network, netip.MustParseAddrPort(addr))
			c := dns.Client{Net: network, Timeout: 10 * time.Second}
			m := new(dns.Msg)
			m.SetQuestion("api.example.com.", dns.TypeA)
			resp, _, err := c.ExchangeWithConn(m, &dns.Conn{Conn: conn})
			if err != nil {
				t.Errorf("%s %s: %v", network, addr, err)
				continue
			}
			if len(resp.Answer) != 1 || resp.Answer[0].(*dns.A).A.String() != want.String() {
				t.Errorf("%s %s: %v", network, addr, resp)
			}
		}
	}
	if n, err := s.network.Refused(); err != nil || n != 0 {
		t.Errorf("%d refused, %v", n, err)
	}
}

// dnsConn is a connected socket of the cell: of UDP it takes answers from the
// address alone that was asked.
func (s *stage) dnsConn(network string, addr netip.AddrPort) net.Conn {
	s.t.Helper()
	if network == "tcp" {
		return s.dial(addr)
	}
	domain, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(addr.Port())})
	if addr.Addr().Is4() {
		sa.(*unix.SockaddrInet4).Addr = addr.Addr().As4()
	} else {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	f, err := s.Make(domain, unix.SOCK_DGRAM, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.Connect(int(fd), sa) })
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// A name is resolved and reached the whole way: query, bound address, relay,
// which resolves it again.
func TestWholeWay(t *testing.T) {
	s := newStageWith(t, authority)
	s.serve("203.0.113.10:443", echo("hello"))
	for _, name := range []string{"api.example.com", "new.example.org"} {
		conn := s.dnsConn("udp", netip.MustParseAddrPort("127.0.0.1:53"))
		c := dns.Client{Timeout: 10 * time.Second}
		m := new(dns.Msg)
		m.SetQuestion(name+".", dns.TypeAAAA)
		resp, _, err := c.ExchangeWithConn(m, &dns.Conn{Conn: conn})
		if err != nil || len(resp.Answer) != 1 {
			t.Fatalf("%s: %v, %v", name, resp, err)
		}
		addr, _ := netip.AddrFromSlice(resp.Answer[0].(*dns.AAAA).AAAA)
		stream := s.dial(netip.AddrPortFrom(addr, 443))
		var word [5]byte
		if _, err := stream.Read(word[:]); err != nil || string(word[:]) != "hello" {
			t.Errorf("%s: %q, %v", name, word, err)
		}
	}
}

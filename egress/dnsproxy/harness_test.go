package dnsproxy

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// patience bounds every wait of a test: long, since only a failure waits.
const patience = 10 * time.Second

// proxyTest is a proxy on loopback with what it has recorded.
type proxyTest struct {
	t       *testing.T
	proxy   *Proxy
	udp     string
	tcp     string
	mu      sync.Mutex
	seen    []Verdict
	refuses error // what Record returns
}

// startProxy serves cfg on loopback, over UDP and TCP, until the test ends.
func startProxy(t *testing.T, cfg Config) *proxyTest {
	t.Helper()
	pt := &proxyTest{t: t}
	cfg.Record = pt.record
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pt.proxy = p
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pt.udp, pt.tcp = conn.LocalAddr().String(), l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.ServeUDP(conn); err != nil {
			t.Errorf("ServeUDP: %v", err)
		}
	})
	wg.Go(func() {
		if err := p.ServeTCP(l); err != nil {
			t.Errorf("ServeTCP: %v", err)
		}
	})
	t.Cleanup(func() {
		p.Close()
		wg.Wait()
	})
	return pt
}

func (pt *proxyTest) record(v Verdict) error {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.seen = append(pt.seen, v)
	return pt.refuses
}

func (pt *proxyTest) verdicts() []Verdict {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return append([]Verdict(nil), pt.seen...)
}

// last returns the verdict of the last query, of which there must be n by now.
func (pt *proxyTest) last(n int) Verdict {
	pt.t.Helper()
	seen := pt.verdicts()
	if len(seen) != n {
		pt.t.Fatalf("%d verdicts, want %d: %+v", len(seen), n, seen)
	}
	return seen[n-1]
}

// ask sends a query built by miekg/dns and returns the response.
func (pt *proxyTest) ask(network string, m *dns.Msg) *dns.Msg {
	pt.t.Helper()
	addr := pt.udp
	if network == "tcp" {
		addr = pt.tcp
	}
	c := dns.Client{Net: network, Timeout: patience, UDPSize: 4096}
	resp, _, err := c.Exchange(m, addr)
	if err != nil {
		pt.t.Fatalf("query %s: %v", m.Question[0].String(), err)
	}
	return resp
}

func question(name string, kind uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	return m
}

// fakeUpstream is a hostile or friendly resolver on loopback.
type fakeUpstream struct {
	addr string
	mu   sync.Mutex
	got  []dns.Msg
	nets []string
	from []string
}

// startUpstream answers over UDP and TCP, on one port, with what reply returns:
// messages in wire form, to be sent one after the other.
func startUpstream(t *testing.T, reply func(network string, q *dns.Msg) [][]byte) *fakeUpstream {
	t.Helper()
	return startUpstreamAt(t, "127.0.0.1:0", reply)
}

func startUpstreamAt(t *testing.T, addr string, reply func(network string, q *dns.Msg) [][]byte) *fakeUpstream {
	t.Helper()
	up := &fakeUpstream{}
	serve := func(network string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			up.mu.Lock()
			up.got = append(up.got, *q)
			up.nets = append(up.nets, network)
			up.from = append(up.from, w.RemoteAddr().String())
			up.mu.Unlock()
			for _, b := range reply(network, q) {
				w.Write(b)
			}
		}
	}
	var l net.Listener
	var pc net.PacketConn
	for range 20 {
		var err error
		if l, err = net.Listen("tcp", addr); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if pc == nil {
		t.Fatal("no port that is free for both UDP and TCP")
	}
	up.addr = pc.LocalAddr().String()
	for _, s := range []*dns.Server{
		{PacketConn: pc, Handler: serve("udp")},
		{Listener: l, Handler: serve("tcp"), ReadTimeout: patience},
	} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		done := make(chan struct{})
		go func() { defer close(done); s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return up
}

// asked returns the questions that have reached the upstream.
func (up *fakeUpstream) asked() []dns.Msg {
	up.mu.Lock()
	defer up.mu.Unlock()
	return append([]dns.Msg(nil), up.got...)
}

// sources returns the address that each of them came from.
func (up *fakeUpstream) sources() []string {
	up.mu.Lock()
	defer up.mu.Unlock()
	return append([]string(nil), up.from...)
}

// networks returns how each of them came.
func (up *fakeUpstream) networks() []string {
	up.mu.Lock()
	defer up.mu.Unlock()
	return append([]string(nil), up.nets...)
}

func (up *fakeUpstream) as(id string, proto Protocol) Upstream {
	return Upstream{ID: id, Protocol: proto, Dial: dialer(up.addr)}
}

func dialer(addr string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, network string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}

// zone answers from records in zone-file text: all of them are put into the
// answer section, in order, but SOA into authority.
func zone(text string) func(string, *dns.Msg) [][]byte {
	return func(_ string, q *dns.Msg) [][]byte {
		return pack(withRecords(q, text))
	}
}

// withRecords is a reply to q with records in zone-file text.
func withRecords(q *dns.Msg, text string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	for line := range strings.Lines(text) {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		switch {
		case rr == nil:
		case rr.Header().Rrtype == dns.TypeSOA && q.Question[0].Qtype != dns.TypeSOA:
			m.Ns = append(m.Ns, rr)
		default:
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

func pack(msgs ...*dns.Msg) (out [][]byte) {
	for _, m := range msgs {
		b, err := m.Pack()
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

// text is the records of a response, as zone-file text without tabs.
func text(rrs []dns.RR) string {
	var b strings.Builder
	for _, rr := range rrs {
		b.WriteString(strings.Join(strings.Fields(rr.String()), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

package dnsproxy

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// hotProxy is a proxy with one name in its cache, and a worker of it whose
// answers go to a socket that nobody reads.
func hotProxy(t testing.TB) (*worker, *client) {
	p, err := New(Config{
		Names:     []string{"cached.example", "*.wild.example"},
		Upstreams: []Upstream{{ID: "r", Protocol: Do53UDP, Dial: dialer("127.0.0.1:9")}},
		Record:    func(Verdict) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); conn.Close() })
	var q query
	for _, name := range []string{"cached.example.", "x.wild.example."} {
		q.parse(pack(question(name, dns.TypeA))[0], plainUDP)
		msg := pack(withRecords(question(name, dns.TypeA), name+" 3600 IN A 192.0.2.1"))[0]
		var r replyReader
		ans, err := r.read(msg, q.wireName(), q.kind)
		if err != nil {
			t.Fatal(err)
		}
		p.cache.put(string(q.keyBytes()), ans, time.Now())
	}
	return p.worker(), &client{udp: &udpServer{conn: conn, raw: raw}, peer: loopbackPeer(conn)}
}

var hotQueries = map[string]*dns.Msg{
	"refused":      question("evil.example.", dns.TypeA),
	"refused-edns": question("evil.example.", dns.TypeA).SetEdns0(1232, false),
	"type":         question("cached.example.", dns.TypeMX),
	"cached":       question("cached.example.", dns.TypeA),
	"cached-wild":  question("X.wild.example.", dns.TypeA),
	"local":        question("localhost.", dns.TypeA),
	"malformed":    question("a b.example.", dns.TypeA),
}

// What needs no upstream needs no memory either.
func TestHotPathAllocatesNothing(t *testing.T) {
	w, c := hotProxy(t)
	for name, m := range hotQueries {
		msg := pack(m)[0]
		now := time.Now()
		if n := testing.AllocsPerRun(100, func() { w.handle(msg, false, c, plainUDP, now); w.out.n = 0 }); n != 0 {
			t.Errorf("%s: %v allocations a query", name, n)
		}
	}
}

func BenchmarkHandle(b *testing.B) {
	for name, m := range hotQueries {
		b.Run(name, func(b *testing.B) {
			w, c := hotProxy(b)
			msg := pack(m)[0]
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				w.handle(msg, false, c, plainUDP, now)
				w.out.n = 0 // what sending costs, test/bench/dns.sh measures
			}
		})
	}
}

func BenchmarkReadReply(b *testing.B) {
	wire := []byte("\x03www\x07example\x00")
	msg := pack(withRecords(question("www.example.", dns.TypeA), "www.example. 60 IN CNAME e.cdn.test.\ne.cdn.test. 20 IN A 192.0.2.1\n"))[0]
	var r replyReader
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.read(msg, wire, typeA); err != nil {
			b.Fatal(err)
		}
	}
}

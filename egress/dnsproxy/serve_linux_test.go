package dnsproxy

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkServe measures whole queries over loopback sockets: client, proxy
// and upstream in one process, up to 64 queries outstanding. For numbers beside
// another server see test/bench/dns.sh.
func BenchmarkServe(b *testing.B) {
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		return conn
	}
	for _, zone := range []string{"refused.test", "cached.example", "forwarded.example"} {
		b.Run(zone, func(b *testing.B) {
			upstream, server := listen(), listen()
			go benchUpstream(upstream)
			defer upstream.Close()
			p, err := New(Config{
				Names:     []string{"*.cached.example", "*.forwarded.example"},
				Upstreams: []Upstream{{ID: "r", Protocol: Do53UDP, Dial: dialer(upstream.LocalAddr().String())}},
				Record:    func(Verdict) error { return nil },
			})
			if err != nil {
				b.Fatal(err)
			}
			go p.ServeUDP(server)
			defer p.Close()
			client, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			var queries [256][]byte
			for i := range queries {
				queries[i] = pack(question(fmt.Sprintf("n%d.%s.", i, zone), dns.TypeA))[0]
			}
			raw, err := client.SyscallConn()
			if err != nil {
				b.Fatal(err)
			}
			in, err := newReceiver(client)
			if err != nil {
				b.Fatal(err)
			}
			out := newSender(plainUDP)
			// A datagram may be lost, and the benchmark must not hang then.
			client.SetReadDeadline(time.Now().Add(time.Minute))
			sent, received := 0, 0
			b.ResetTimer()
			for received < b.N {
				for sent < b.N && sent-received < 64 && !out.full() {
					out.add(copy(out.room()[:plainUDP], queries[sent%len(queries)]), nil)
					sent++
				}
				if err := out.flush(raw, client); err != nil {
					b.Fatal(err)
				}
				n, err := in.receive()
				if err != nil {
					b.Fatal(err)
				}
				received += n
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "q/s")
		})
	}
}

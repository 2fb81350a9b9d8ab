package dnsproxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
)

// TestMain runs the tests, or one side of the measurement that
// test/bench/dns.sh makes with an outside load generator: CELLOS_DNS_BENCH is
// then "proxy LISTEN UPSTREAM" or "upstream LISTEN". It ends with its input.
func TestMain(m *testing.M) {
	mode := os.Getenv("CELLOS_DNS_BENCH")
	if mode == "" {
		os.Exit(m.Run())
	}
	if err := bench(mode); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func bench(mode string) error {
	var role, listen, upstream string
	fmt.Sscan(mode, &role, &listen, &upstream)
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	if role == "upstream" {
		go benchUpstream(conn)
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	var allowed, denied atomic.Int64
	p, err := New(Config{
		Names:     []string{"*.cached.example", "*.forwarded.example"},
		Upstreams: []Upstream{{ID: "bench", Protocol: Do53UDP, Dial: dialer(upstream)}},
		Record: func(v Verdict) error {
			if v.Allow {
				allowed.Add(1)
			} else {
				denied.Add(1)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	go p.ServeUDP(conn)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	err = p.Close()
	fmt.Printf("verdicts recorded: %d allowed, %d denied\n", allowed.Load(), denied.Load())
	return err
}

// benchUpstream answers every question with one address: to be kept for five
// minutes, but names under forwarded.example not at all.
func benchUpstream(conn *net.UDPConn) {
	r, err := newReceiver(conn)
	if err != nil {
		panic(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		panic(err)
	}
	out, q := newSender(maxUDP), new(query)
	for {
		n, err := r.receive()
		if err != nil {
			return
		}
		for i := range n {
			msg, _, from := r.datagram(i)
			if q.parse(msg, plainUDP) != nil {
				continue
			}
			ttl := uint32(300)
			if len(q.name()) > 18 && string(q.name()[len(q.name())-17:]) == "forwarded.example" {
				ttl = 0
			}
			tail := append(appendRecord(nil, questionPointer, typeA, ttl, 4), 192, 0, 2, 1)
			b := appendResponse(out.room(), &q.asker, q.wireName(), q.kind, &answer{tail: tail, answers: 1}, 0, nil)
			out.add(len(b), from)
			if out.full() {
				out.flush(raw, conn)
			}
		}
		out.flush(raw, conn)
	}
}

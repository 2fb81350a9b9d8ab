package egress_test

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// ways are the ways to a server that the benchmarks compare in one run: no
// relay, a relay of a few lines, and ours with its firewall and its records.
func ways(b *testing.B, run func(b *testing.B, dial func() *net.TCPConn)) {
	s := newStage(b, authority, names)
	s.quiet = true
	s.serve("203.0.113.10:8443", answerOrSink)
	plain := plainRelay(b, literal)
	host := func(addr netip.AddrPort) func() *net.TCPConn {
		return func() *net.TCPConn {
			c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
			if err != nil {
				b.Fatal(err)
			}
			return c
		}
	}
	for _, way := range []struct {
		name string
		dial func() *net.TCPConn
	}{
		{"direct", host(literal)},
		{"plain", host(plain)},
		{"cellos", func() *net.TCPConn {
			c, err := s.Connect(netip.AddrPort{}, literal)
			if err != nil {
				b.Fatal(err)
			}
			return c
		}},
	} {
		b.Run(way.name, func(b *testing.B) { run(b, way.dial) })
	}
}

// answerOrSink answers each "?" with a byte and throws the rest away.
func answerOrSink(c *net.TCPConn) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return
	}
	if b[0] == '?' {
		_, _ = c.Write(b[:])
	}
	_, _ = io.Copy(io.Discard, c)
}

// plainRelay is what a relay costs in Go.
func plainRelay(b *testing.B, to netip.AddrPort) netip.AddrPort {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.Cleanup(wg.Wait)
	b.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			in, err := l.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				out, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
				if err != nil {
					return
				}
				defer out.Close()
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = io.Copy(in, out)
					_ = in.CloseWrite()
				}()
				_, _ = io.Copy(out, in)
				_ = out.CloseWrite()
				<-done
			})
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func BenchmarkRelayThroughput(b *testing.B) {
	ways(b, func(b *testing.B, dial func() *net.TCPConn) {
		c := dial()
		defer c.Close()
		block := make([]byte, 1<<20)
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			if _, err := c.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
}

func BenchmarkRelayConnect(b *testing.B) {
	ways(b, func(b *testing.B, dial func() *net.TCPConn) {
		for b.Loop() {
			dial().Close()
		}
	})
}

func BenchmarkRelayFirstByte(b *testing.B) {
	ways(b, func(b *testing.B, dial func() *net.TCPConn) {
		var got [1]byte
		for b.Loop() {
			c := dial()
			if _, err := c.Write([]byte("?")); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, got[:]); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}

// BenchmarkRelayConnections is connections a second, several at a time.
func BenchmarkRelayConnections(b *testing.B) {
	ways(b, func(b *testing.B, dial func() *net.TCPConn) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			var got [1]byte
			for pb.Next() {
				c := dial()
				if _, err := c.Write([]byte("?")); err == nil {
					_, _ = io.ReadFull(c, got[:])
				}
				c.Close()
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
	})
}

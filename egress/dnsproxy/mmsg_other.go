//go:build !linux

package dnsproxy

import (
	"net"
	"net/netip"
	"syscall"
)

// batchLen is one elsewhere than on Linux: enough to build and to try the
// package there, which no cell runs on.
const batchLen = 1

// peer is the address of a client.
type peer struct{ addr netip.AddrPort }

func (p *peer) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(p.addr.Addr().Unmap(), p.addr.Port())
}

// receiver reads datagrams.
type receiver struct {
	conn *net.UDPConn
	buf  [maxUDP + 1]byte
	n    int
	from peer
}

func newReceiver(c *net.UDPConn) (*receiver, error) { return &receiver{conn: c}, nil }

func (r *receiver) receive() (n int, err error) {
	r.n, r.from.addr, err = r.conn.ReadFromUDPAddrPort(r.buf[:])
	return 1, err
}

func (r *receiver) datagram(int) (b []byte, cut bool, from *peer) {
	return r.buf[:min(r.n, maxUDP)], r.n > maxUDP, &r.from
}

// sender sends datagrams.
type sender struct {
	buf []byte
	n   int
	len int
	to  *peer
}

func newSender(size int) *sender { return &sender{buf: make([]byte, size)} }
func (s *sender) full() bool     { return s.n == 1 }
func (s *sender) room() []byte   { return s.buf[:0] }
func (s *sender) add(n int, to *peer) {
	s.n, s.len, s.to = 1, n, to
}

func (s *sender) flush(_ syscall.RawConn, conn *net.UDPConn) (err error) {
	if s.n == 0 {
		return nil
	}
	s.n = 0
	if s.to == nil {
		_, err = conn.Write(s.buf[:s.len])
	} else {
		_, err = conn.WriteToUDPAddrPort(s.buf[:s.len], s.to.addr)
	}
	return err
}

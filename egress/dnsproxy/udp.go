package dnsproxy

import (
	"net"
	"syscall"
	"time"
)

// longAgo is a deadline that ends what waits for it.
var longAgo = time.Unix(1, 0)

// udpServer is one socket that clients send to.
type udpServer struct {
	conn *net.UDPConn
	raw  syscall.RawConn
}

// ServeUDP answers the queries that arrive at conn until the proxy is closed,
// and then returns nil; it returns earlier, with an error, if the socket
// breaks. The proxy owns conn from now on.
func (p *Proxy) ServeUDP(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return err
	}
	r, err := newReceiver(conn)
	if err != nil {
		conn.Close()
		return err
	}
	// Room for a burst while a verdict is being written down; the kernel
	// clips it to what it allows.
	_ = conn.SetReadBuffer(1 << 20)
	done, err := p.serving(conn, func() { conn.SetReadDeadline(longAgo) })
	if err != nil {
		return nil // closed already
	}
	defer done()
	s := &udpServer{conn: conn, raw: raw}
	w := p.worker()
	defer w.release()
	for {
		n, err := r.receive()
		if err != nil {
			if p.closing() {
				return nil
			}
			conn.Close()
			return err
		}
		now := time.Now()
		for i := range n {
			msg, cut, from := r.datagram(i)
			w.handle(msg, cut, &client{udp: s, peer: *from}, plainUDP, now)
		}
		w.flush()
	}
}

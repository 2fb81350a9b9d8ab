package dnsproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// closePatience is how long a client that does not read may delay Close.
const closePatience = 250 * time.Millisecond

// acceptPause is the wait for a free file descriptor.
const acceptPause = 50 * time.Millisecond

// ServeTCP answers the queries that arrive on the connections of l until the
// proxy is closed, and then returns nil; it returns earlier, with an error, if
// the listener breaks. The proxy owns l from now on.
func (p *Proxy) ServeTCP(l net.Listener) error {
	done, err := p.serving(l, func() { l.Close() })
	if err != nil {
		return nil // closed already
	}
	defer done()
	slots := make(chan struct{}, p.cfg.TCPConns)
	for {
		conn, err := l.Accept()
		switch {
		case p.closing():
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			// No descriptor is free. The client waits in the backlog.
			select {
			case <-time.After(acceptPause):
			case <-p.ctx.Done():
			}
			continue
		case err != nil:
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close() // RFC 7766, section 6.2.2: the client may retry
			continue
		}
		if !p.goes(func() {
			defer func() { <-slots }()
			p.serveConn(conn)
		}) {
			conn.Close()
			return nil
		}
	}
}

// tcpConn is one connection of a client. Answers may come in any order (RFC
// 7766, section 6.2.1.1). Each query holds a token until its answer is written,
// and there is room for one answer per token, so that whoever answers never
// waits for a slow client.
type tcpConn struct {
	conn    net.Conn
	addr    netip.AddrPort
	tokens  chan struct{}
	answers chan []byte // nil for a query that is not answered
	queued  atomic.Int64
}

// maxQueued bounds the bytes that wait for a client to read them.
const maxQueued = 2 * maxMessage

// send queues an answer. A client that asks for much and reads little loses the
// connection.
func (c *tcpConn) send(b []byte) {
	if c.queued.Add(int64(len(b))) > maxQueued {
		c.queued.Add(-int64(len(b)))
		c.conn.Close()
		b = nil
	}
	c.answers <- b
}

// serveConn reads queries from one connection.
func (p *Proxy) serveConn(conn net.Conn) {
	done, err := p.serving(conn, func() {
		conn.SetReadDeadline(longAgo)
		conn.SetWriteDeadline(time.Now().Add(closePatience))
	})
	if err != nil {
		return
	}
	defer done()
	c := &tcpConn{
		conn:    conn,
		tokens:  make(chan struct{}, p.cfg.TCPPipelined),
		answers: make(chan []byte, p.cfg.TCPPipelined),
	}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		c.addr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(p)
	}()
	w := p.worker()
	c.read(p, w)
	w.release()
	// With all tokens in hand every answer is written.
	for range cap(c.tokens) {
		c.tokens <- struct{}{}
	}
	close(c.answers)
	<-written
	conn.Close()
}

func (c *tcpConn) read(p *Proxy, w *worker) {
	in := bufio.NewReaderSize(c.conn, 2+plainUDP)
	buf := make([]byte, maxUDP)
	for {
		c.tokens <- struct{}{}
		msg, cut, err := c.next(p, in, buf)
		if err != nil {
			<-c.tokens
			return
		}
		w.handle(msg, cut, &client{tcp: c}, maxMessage, time.Now())
		w.flush() // before the wait for a token, which may need an answer
	}
}

// next reads one message into buf; what does not fit is skipped. A client has
// the idle time for all of it.
func (c *tcpConn) next(p *Proxy, in *bufio.Reader, buf []byte) (msg []byte, cut bool, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(p.cfg.TCPIdle)); err != nil {
		return nil, false, err
	}
	if p.closing() { // whose deadline may just have been replaced
		return nil, false, errClosed
	}
	if _, err := io.ReadFull(in, buf[:2]); err != nil {
		return nil, false, err
	}
	n := int(be.Uint16(buf))
	msg = buf[:min(n, len(buf))]
	if _, err := io.ReadFull(in, msg); err != nil {
		return nil, false, err
	}
	_, err = in.Discard(n - len(msg))
	return msg, n > len(msg), err
}

// write writes answers until there are no more. After an error it only gives
// the tokens back; closing the connection ends its reader.
func (c *tcpConn) write(p *Proxy) {
	var err error
	for b := range c.answers {
		if err == nil && len(b) > 0 {
			err = c.writeOne(b, p)
		}
		c.queued.Add(-int64(len(b)))
		<-c.tokens
		if err != nil {
			c.conn.Close()
		}
	}
}

func (c *tcpConn) writeOne(b []byte, p *Proxy) error {
	if len(b) > maxMessage {
		return errors.New("response larger than a message may be")
	}
	size := be.AppendUint16(nil, uint16(len(b)))
	if err := c.conn.SetWriteDeadline(time.Now().Add(p.cfg.TCPIdle)); err != nil {
		return err
	}
	if p.closing() { // whose deadline may just have been replaced
		c.conn.SetWriteDeadline(time.Now().Add(closePatience))
	}
	// One segment for length and message (RFC 7766, section 8).
	bufs := net.Buffers{size, b}
	_, err := bufs.WriteTo(c.conn)
	return err
}

package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// A source port is as much a secret as an id (RFC 5452): each upstream is asked
// from a few sockets, one picked at random for a batch, and each replaced
// after some queries or some time.
const (
	socketsPerUpstream = 4
	socketQueries      = 512
	socketAge          = 10 * time.Second
)

// upstream is one resolver and the sockets that are connected to it.
type upstream struct {
	Upstream
	p *Proxy

	mu    sync.Mutex
	slots [socketsPerUpstream]*socket
	idle  []net.Conn // TCP connections without a question on them
	tcp   chan struct{}
}

// socket is one connected UDP socket. What it waits for is guarded by the
// forwarder's lock, its budget by the upstream's.
type socket struct {
	up   *upstream
	conn *net.UDPConn
	raw  syscall.RawConn
	recv *receiver

	left int
	born time.Time

	pending map[uint16]*try
	retired bool // takes no more questions
	dead    bool // closed
}

// socket returns one of the upstream's sockets for one question.
func (u *upstream) socket(w *worker) (*socket, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	slot := &u.slots[w.rng.Uint64()%socketsPerUpstream]
	if s := *slot; s != nil {
		if s.left > 0 && time.Since(s.born) < socketAge && !u.p.fwd.isDead(s) {
			s.left--
			return s, nil
		}
		*slot = nil
		u.p.fwd.retire(s)
	}
	s, err := u.dial()
	if err != nil {
		return nil, err
	}
	// A random budget, so that nobody can count when the port changes.
	s.left = socketQueries/2 + int(w.rng.Uint64()%(socketQueries/2)) - 1
	*slot = s
	return s, nil
}

func (u *upstream) dial() (*socket, error) {
	ctx, cancel := context.WithTimeout(u.p.ctx, u.p.cfg.TryTimeout)
	defer cancel()
	conn, err := u.Dial(ctx, "udp")
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*net.UDPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("upstream %s: Dial returned %T for udp: must be a *net.UDPConn", u.ID, conn)
	}
	s := &socket{up: u, conn: c, born: time.Now(), pending: make(map[uint16]*try)}
	if s.raw, err = c.SyscallConn(); err == nil {
		s.recv, err = newReceiver(c)
	}
	if err == nil && !u.p.goes(s.serve) {
		err = errClosed
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

// retireAll gives up all sockets.
func (u *upstream) retireAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, s := range u.slots {
		if s != nil {
			u.slots[i] = nil
			u.p.fwd.retire(s)
		}
	}
	for _, c := range u.idle {
		c.Close()
	}
	u.idle = nil
}

// serve reads replies until the socket is closed or breaks.
func (s *socket) serve() {
	w := s.up.p.worker()
	defer w.release()
	for {
		n, err := s.recv.receive()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				w.socketFailed(s)
			}
			return
		}
		for i := range n {
			msg, cut, _ := s.recv.datagram(i)
			w.reply(s, msg, cut)
		}
		w.flush()
	}
}

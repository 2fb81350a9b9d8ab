package dnsproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
)

const (
	tcpExchanges = 64 // questions to one upstream over TCP at a time
	tcpIdleConns = 4  // connections kept to it
)

var errTCPReply = errors.New("not the reply to the question")

// overTCP asks a question over TCP that has not been answered well over UDP.
// If instead is true the try is over; else it stays open beside the new one.
func (w *worker) overTCP(t *try, instead bool) {
	f := &w.p.fwd
	f.mu.Lock()
	fl := t.fl
	if t.s.pending[t.id] != t || fl.tcp && !instead {
		f.mu.Unlock()
		return
	}
	if instead {
		f.forget(t)
	} else {
		fl.live++
	}
	if fl.settled() {
		f.mu.Unlock()
		return
	}
	fl.tcp = true
	f.schedule(fl)
	f.mu.Unlock()
	if !t.s.up.exchange(fl) {
		w.retry(fl, nil)
	}
}

// exchange starts to ask a question over TCP, if not too many are being asked.
func (u *upstream) exchange(fl *flight) bool {
	select {
	case u.tcp <- struct{}{}:
	default:
		return false
	}
	return u.p.goes(func() {
		w := u.p.worker()
		defer w.release()
		ans, err := u.askTCP(w, fl)
		<-u.tcp
		switch {
		case err == nil:
			w.settle(fl, u, ans)
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
			// Silence is not a failure: the flight's own time decides.
		default:
			w.retry(fl, nil)
		}
	})
}

// askTCP asks on a connection that is idle or else on a new one. The upstream
// may close an idle connection at any time (RFC 7766, section 6.2.3), so a
// failure on one says nothing.
func (u *upstream) askTCP(w *worker, fl *flight) (*answer, error) {
	ctx, cancel := context.WithTimeout(u.p.ctx, u.p.cfg.TryTimeout)
	defer cancel()
	if c := u.takeIdle(); c != nil {
		if ans, err := u.askOn(ctx, c, w, fl); err == nil {
			return ans, nil
		}
	}
	c, err := u.Dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	return u.askOn(ctx, c, w, fl)
}

// askOn asks on one connection and keeps it if all went well.
func (u *upstream) askOn(ctx context.Context, c net.Conn, w *worker, fl *flight) (*answer, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(longAgo) })
	ans, err := roundTrip(c, w, fl)
	if !stop() || err != nil || !u.keepIdle(c) {
		c.Close()
	}
	return ans, err
}

func roundTrip(c net.Conn, w *worker, fl *flight) (*answer, error) {
	id := uint16(w.rng.Uint64())
	b := appendQuery(make([]byte, 2, 2+maxUDP), id, fl.wire, &caseBits{}, fl.kind, !w.p.fwd.isPlain(fl))
	be.PutUint16(b, uint16(len(b)-2))
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := int(be.Uint16(size[:]))
	if n < headerLen {
		return nil, errTCPReply
	}
	msg := make([]byte, n)
	if _, err := io.ReadFull(c, msg); err != nil {
		return nil, err
	}
	question := appendQuestion(w.scratch[:0], fl.wire, &caseBits{}, fl.kind)
	if be.Uint16(msg) != id || answersQuestion(msg, question) == matchNone {
		return nil, errTCPReply
	}
	return w.rd.read(msg, fl.wire, fl.kind)
}

func (f *forwarder) isPlain(fl *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fl.plain
}

func (u *upstream) takeIdle() net.Conn {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.idle)
	if n == 0 {
		return nil
	}
	c := u.idle[n-1]
	u.idle = u.idle[:n-1]
	return c
}

func (u *upstream) keepIdle(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.p.ctx.Err() != nil || len(u.idle) >= tcpIdleConns {
		return false
	}
	u.idle = append(u.idle, c)
	return true
}

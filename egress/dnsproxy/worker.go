package dnsproxy

import (
	"crypto/rand"
	mrand "math/rand/v2"
	"net/netip"
	"time"
)

// worker is what one goroutine needs to handle messages without allocating:
// buffers, and the datagrams that it will send when its batch is through.
type worker struct {
	p   *Proxy
	q   query
	rd  replyReader
	rng *mrand.ChaCha8

	out     *sender // answers; made when first needed
	outTo   *udpServer
	asks    *sender // queries to upstreams; made when first needed
	asksTo  *socket
	scratch [maxWireName + 4]byte
	// names remembers recent strings, so that a repeated name that is on
	// no list costs no allocation.
	names [64]string
}

func newWorker(p *Proxy) *worker {
	var seed [32]byte
	rand.Read(seed[:]) // never fails: it would abort the program
	return &worker{p: p, rng: mrand.NewChaCha8(seed)}
}

// worker returns a worker that is to be given back by release.
func (p *Proxy) worker() *worker { return p.workers.Get().(*worker) }

func (w *worker) release() {
	w.flush()
	w.p.workers.Put(w)
}

// client is where an answer goes.
type client struct {
	udp  *udpServer
	tcp  *tcpConn // if not udp
	peer peer     // of udp
}

func (c *client) addr() netip.AddrPort {
	if c.tcp != nil {
		return c.tcp.addr
	}
	return c.peer.addrPort()
}

func (c *client) transport() Transport {
	if c.tcp != nil {
		return TCP
	}
	return UDP
}

// flush sends what the worker has collected: first the questions, since
// somebody has to work on them.
func (w *worker) flush() {
	w.flushAsks()
	w.flushOut()
}

func (w *worker) flushOut() {
	if w.outTo != nil {
		// A client whose answer cannot be sent asks again.
		_ = w.out.flush(w.outTo.raw, w.outTo.conn)
		w.outTo = nil
	}
}

// flushAsks sends the queries to upstreams. If that fails others may be asked
// instead, so it takes until nothing is left.
func (w *worker) flushAsks() {
	for w.asksTo != nil {
		s := w.asksTo
		w.asksTo = nil
		if err := w.asks.flush(s.raw, s.conn); err != nil {
			w.socketFailed(s)
		}
	}
}

// respond sends an answer to a client, provided that its verdict, to which it
// adds what the client and the answer say, can be recorded.
func (w *worker) respond(c *client, a *asker, wire []byte, kind uint16, v *Verdict, began time.Time, ans *answer, age uint32, ede *extendedError) {
	if !w.record(c, v, began, int(ans.rcode)) {
		ans, age, ede = answerServFail, 0, &unrecorded
	}
	b := w.begin(c, headerLen+len(wire)+4+len(ans.tail)+maxUDP)
	w.end(c, appendResponse(b, a, wire, kind, ans, age, ede))
}

// unrecorded explains the answer to a query whose verdict was lost.
var unrecorded = extendedError{code: edeOther, before: "the verdict could not be recorded"}

func (w *worker) record(c *client, v *Verdict, began time.Time, rcode int) bool {
	v.Rcode = rcode
	v.Transport = c.transport()
	v.Client = c.addr()
	v.Duration = time.Since(began)
	return w.p.cfg.Record(*v) == nil
}

// begin returns the buffer for a response to a client.
func (w *worker) begin(c *client, size int) []byte {
	if c.tcp != nil {
		return make([]byte, 0, min(size, maxMessage))
	}
	if w.out == nil {
		w.out = newSender(maxUDP)
	}
	if w.outTo != c.udp || w.out.full() {
		w.flushOut()
		w.outTo = c.udp
	}
	return w.out.room()
}

// end sends the response that was written to what begin returned.
func (w *worker) end(c *client, b []byte) {
	if c.tcp != nil {
		c.tcp.send(b)
		return
	}
	w.out.add(len(b), &c.peer)
}

// drop leaves a client without a response.
func (w *worker) drop(c *client) {
	if c.tcp != nil {
		c.tcp.send(nil)
	}
}

// intern returns a name as a string.
func (w *worker) intern(name []byte) string {
	h := uint32(2166136261) // FNV-1a
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	slot := &w.names[h%uint32(len(w.names))]
	if *slot != string(name) {
		*slot = string(name)
	}
	return *slot
}

package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// errClosed says that the proxy is closed.
var errClosed = fmt.Errorf("dnsproxy: %w", net.ErrClosed)

// Proxy answers queries. Its methods may be used by several goroutines.
type Proxy struct {
	cfg     Config
	names   nameSet
	types   map[uint16]bool
	cache   *cache
	fwd     forwarder
	workers sync.Pool

	ctx    context.Context // ends when the proxy closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines other than those that serve
	reads  sync.WaitGroup // those that serve

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]func() // what is read from, and how to end that
	ended  chan struct{}        // closed when Close is through
}

// New returns a proxy that serves nothing yet.
func New(cfg Config) (*Proxy, error) {
	cfg = cfg.withDefaults()
	p := &Proxy{
		cfg: cfg, types: make(map[uint16]bool), cache: newCache(&cfg),
		open: make(map[io.Closer]func()), ended: make(chan struct{}),
	}
	errs := []error{cfg.validate()}
	var err error
	if p.names, err = compileNames(cfg.Names); err != nil {
		errs = append(errs, err)
	}
	for _, s := range cfg.Types {
		t, err := parseType(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.types[t] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("dnsproxy: %w", err)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.workers.New = func() any { return newWorker(p) }
	p.fwd = forwarder{
		tries: cfg.Tries, max: cfg.MaxInFlight, timeout: cfg.TryTimeout,
		wake: make(chan struct{}, 1), flights: make(map[string]*flight),
	}
	p.fwd.ring.prev, p.fwd.ring.next = &p.fwd.ring, &p.fwd.ring
	for _, u := range cfg.Upstreams {
		p.fwd.ups = append(p.fwd.ups, &upstream{Upstream: u, p: p, tcp: make(chan struct{}, tcpExchanges)})
	}
	p.goes(p.expire)
	return p, nil
}

// goes runs f in a goroutine that Close waits for, unless the proxy is closed.
func (p *Proxy) goes(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(f)
	return true
}

// serving registers something that queries are read from, until done. Close
// calls stop to end the reads, waits for done, and closes it.
func (p *Proxy) serving(c io.Closer, stop func()) (done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return nil, errClosed
	}
	p.open[c] = stop
	p.reads.Add(1)
	return func() {
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
		p.reads.Done()
	}, nil
}

func (p *Proxy) closing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// rest gives up the upstream sockets: an idle cell has none.
func (p *Proxy) rest() {
	for _, u := range p.fwd.ups {
		u.retireAll()
	}
}

// Close ends the proxy and returns when all its goroutines have: no more
// queries are read, those that wait for an upstream are answered SERVFAIL, and
// every query that was read has had its verdict recorded.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.ended
		return nil
	}
	p.closed = true
	var closers []io.Closer
	for c, stop := range p.open {
		closers = append(closers, c)
		stop()
	}
	p.mu.Unlock()
	defer close(p.ended)

	// A client's connection ends when its queries are answered, so first
	// the flights, then their readers.
	w := p.worker()
	for _, fl := range p.fwd.abort() {
		w.giveUp(fl, ReasonUpstreamFailure)
	}
	w.release()
	p.reads.Wait()

	p.cancel()
	p.rest()
	p.wg.Wait()
	// Nobody is left who could send.
	for _, c := range closers {
		c.Close() // twice for most: what matters is that it is closed
	}
	return nil
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/plan"
)

const (
	// dialTimeout is for resolving and dialling together (SPEC §1.2).
	dialTimeout = 10 * time.Second
	// mostConns bounds the connections of one cell at a time: each costs the
	// supervisor two descriptors, four more while nobody reads what both of
	// its ends send, and some memory. spareFiles are left to the rest of the
	// process when its limit is low.
	mostConns    = 4096
	filesPerConn = 6
	spareFiles   = 256
	// acceptPause is the wait for a free descriptor.
	acceptPause = 20 * time.Millisecond
	// drainPatience is how long Close lets what a dead cell had sent reach
	// servers that take it slowly, and drainQuiet how long nothing may have
	// been left to accept before it believes that nothing is.
	drainPatience = 500 * time.Millisecond
	drainQuiet    = 10 * time.Millisecond
)

// Reasons beyond those of a plan.
const (
	// ReasonRebinding is a name that leads only into special ranges or to
	// the host itself.
	ReasonRebinding plan.Reason = "denied_rebinding"
	// ReasonRateLimited is one connection too many.
	ReasonRateLimited plan.Reason = "rate_limited"
)

// A Flow is one connection.
type Flow struct {
	// Client and Destination are the ends as the workload sees them.
	Client, Destination netip.AddrPort
	// Name is what the destination stands for; empty for a literal address.
	Name   string
	Rule   int // index of the rule, or plan.NoRule
	Allow  bool
	Reason plan.Reason
	Began  time.Time

	// What follows is known when the flow has ended.

	Upstream netip.AddrPort // that was dialled; invalid if none answered
	Sent     int64          // bytes of the workload that were passed on
	Received int64          // bytes that were passed on to it
	Duration time.Duration
	// Err is why the destination could not be reached, or why the
	// connection ended before both sides had closed it.
	Err error
}

// Resolver resolves names that are allowed.
type Resolver interface {
	// Resolve returns the addresses of a name as the upstream resolver gives
	// them. None without an error means that the name has none.
	Resolve(ctx context.Context, name string) ([]netip.Addr, error)
}

// Config is what a relay is made of. All but MaxConns and Dial are required.
type Config struct {
	Plan *plan.Network
	// NameOf returns the name that has taken an address of a wildcard.
	NameOf   func(netip.Addr) (name string, ok bool)
	Resolver Resolver
	// IsHost reports whether an address is one of the host's own.
	IsHost func(netip.Addr) (bool, error)
	// Decided records a decision before it takes effect. After an error the
	// connection is reset.
	Decided func(Flow) error
	// Ended records a flow that is over.
	Ended func(Flow)

	// MaxConns bounds the open connections (4096, or less where this process
	// may not have the descriptors).
	MaxConns int
	// Dial connects from the host's network.
	Dial func(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error)
}

// A Relay serves any number of listeners.
type Relay struct {
	cfg    Config
	pipes  pipes
	slots  chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // connections
	serves sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	deadline  time.Time // for connections that are not accepted yet
	listeners map[*net.TCPListener]bool
	conns     map[*conn]bool
}

// New returns a relay that serves nothing yet.
func New(cfg Config) (*Relay, error) {
	if cfg.Plan == nil || cfg.NameOf == nil || cfg.Resolver == nil || cfg.IsHost == nil || cfg.Decided == nil || cfg.Ended == nil {
		return nil, errors.New("relay: the configuration is not complete")
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = defaultConns()
	}
	if cfg.Dial == nil {
		cfg.Dial = dialHost
	}
	r := &Relay{
		cfg: cfg, slots: make(chan struct{}, cfg.MaxConns),
		listeners: make(map[*net.TCPListener]bool), conns: make(map[*conn]bool),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// defaultConns is what the limit of open files has room for.
func defaultConns() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*spareFiles {
		return spareFiles / 4
	}
	return int(min(mostConns, (limit.Cur-spareFiles)/filesPerConn))
}

func dialHost(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	var d net.Dialer
	return d.DialTCP(ctx, "tcp", netip.AddrPort{}, addr)
}

// Serve relays the connections of a transparent listener until the relay is
// closed, and then returns nil. It returns earlier, with an error, if the
// listener breaks. The relay owns the listener from now on.
func (r *Relay) Serve(l *net.TCPListener) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		l.Close()
		return net.ErrClosed
	}
	r.listeners[l] = true
	r.serves.Add(1)
	r.mu.Unlock()
	defer r.serves.Done()
	defer l.Close()
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			r.accepted(c)
			r.extend(l)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil // closed, and nothing is left to accept
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			// The client waits in the backlog.
			select {
			case <-time.After(acceptPause):
			case <-r.ctx.Done():
			}
		case errors.Is(err, syscall.ECONNABORTED):
		default:
			return fmt.Errorf("accept a connection of the cell: %w", err)
		}
	}
}

// extend lets a listener of a relay that closes accept what is left.
func (r *Relay) extend(l *net.TCPListener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		until := time.Now().Add(drainQuiet)
		if until.After(r.deadline) {
			until = r.deadline
		}
		_ = l.SetDeadline(until)
	}
}

// accepted starts to serve one connection.
func (r *Relay) accepted(client *net.TCPConn) {
	c := &conn{relay: r, client: client, sent: make(chan struct{})}
	c.flow.Began = time.Now()
	c.flow.Client, c.flow.Destination = addrPort(client.RemoteAddr()), addrPort(client.LocalAddr())
	c.flow.Rule = plan.NoRule
	select {
	case r.slots <- struct{}{}:
	default:
		c.decide()
		c.flow.Allow, c.flow.Reason = false, ReasonRateLimited
		c.end(r.cfg.Decided(c.flow))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	r.wg.Go(func() {
		defer func() {
			r.mu.Lock()
			delete(r.conns, c)
			r.mu.Unlock()
			<-r.slots
		}()
		c.serve()
	})
}

// addrPort is a TCP address, an IPv4 one as such.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Close ends the relay. The cell must be gone: what its clients had sent
// before they ended is passed on, for a short while, whether they were accepted
// yet or not; then all connections end. Each has been recorded when Close
// returns.
func (r *Relay) Close() error {
	r.mu.Lock()
	already := r.closed
	r.closed = true
	r.deadline = time.Now().Add(drainPatience)
	listeners := r.listeners
	r.listeners = nil
	r.mu.Unlock()
	if already {
		r.wg.Wait()
		return nil
	}
	patience := time.NewTimer(drainPatience)
	defer patience.Stop()
	for l := range listeners {
		r.extend(l)
	}
	r.serves.Wait()
	// Nothing is accepted any more.
	expired := false
	for _, c := range r.open() {
		if !expired {
			select {
			case <-c.sent:
			case <-patience.C:
				expired = true
				r.cancel() // what is being resolved or dialled
			}
		}
		c.abort(net.ErrClosed)
	}
	r.cancel()
	r.wg.Wait()
	r.pipes.close()
	return nil
}

// open are the connections that have not ended.
func (r *Relay) open() []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.conns))
}

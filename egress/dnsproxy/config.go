package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// DenyResponse is how a name that is not allowed is answered. A type that is
// not allowed is always REFUSED: NXDOMAIN would deny the allowed name as well
// (RFC 8020).
type DenyResponse string

// The two ways to say no.
const (
	DenyRefused  DenyResponse = "refused"
	DenyNXDomain DenyResponse = "nxdomain"
)

// Protocol is how an upstream is asked.
type Protocol string

// The protocols of an upstream.
const (
	Do53UDP Protocol = "do53-udp"
	Do53TCP Protocol = "do53-tcp"
)

// Upstream is a resolver that the proxy asks.
type Upstream struct {
	ID       string
	Protocol Protocol
	// Dial returns a socket that is connected to the resolver, from
	// whichever namespace the resolver is to be reached. Network is "udp"
	// or "tcp"; for "udp" the socket must be a *net.UDPConn with a source
	// port of the kernel's choosing. A do53-udp upstream is dialled for
	// "tcp" when an answer does not fit a datagram.
	Dial func(ctx context.Context, network string) (net.Conn, error)
}

// Binder knows the addresses that stand for names in the cell. It is used by
// several goroutines at once.
type Binder interface {
	// Bind returns the addresses of an allowed name that exists; v6 is
	// invalid in a cell without IPv6. It returns false if there are no more.
	Bind(name string) (v4, v6 netip.Addr, ok bool)
	// Reverse returns the name of an address of the cell.
	Reverse(netip.Addr) (name string, ok bool)
	// Permits reports whether a name may lead to an address of the
	// upstream's answer.
	Permits(netip.Addr) bool
}

// Config is what a proxy is made of. Names, Upstreams and Record are required.
type Config struct {
	// Names may be resolved: exact names and "*.x" patterns in lower case,
	// as A-labels, without a final dot.
	Names []string
	// Types are the query types allowed for them; DefaultTypes if empty.
	Types []string
	// Deny is DenyRefused if empty.
	Deny DenyResponse
	// Upstreams are asked in this order.
	Upstreams []Upstream
	// Bound, if set, gives the addresses that the answers have instead of
	// the upstream's own.
	Bound Binder
	// Record is called once for every query, before its answer is sent,
	// possibly from several goroutines at once. An error fails closed: the
	// client gets SERVFAIL and nothing of the answer.
	Record func(Verdict) error

	// TryTimeout is how long one try waits before the next (800 ms). Tries
	// is how many there are (3, or one for each upstream if that is more).
	// The product should stay below the patience of the cell's clients.
	TryTimeout time.Duration
	Tries      int
	// MaxInFlight bounds the clients that wait for an upstream (4096).
	MaxInFlight int

	// CacheEntries (4096) and CacheBytes (4 MiB) bound the cache; a
	// negative CacheEntries turns it off.
	CacheEntries int
	CacheBytes   int
	// MinTTL (0) and MaxTTL (one day) bound how long an answer is kept.
	MinTTL time.Duration
	MaxTTL time.Duration

	// TCPConns bounds the connections of clients (64), TCPPipelined the
	// unanswered queries of one (16), TCPIdle the wait for its next query
	// (10 s) and for room to write an answer.
	TCPConns     int
	TCPPipelined int
	TCPIdle      time.Duration
}

func (c Config) withDefaults() Config {
	if len(c.Types) == 0 {
		c.Types = DefaultTypes
	}
	if c.Deny == "" {
		c.Deny = DenyRefused
	}
	orDefault(&c.TryTimeout, 800*time.Millisecond)
	orDefault(&c.Tries, max(3, len(c.Upstreams)))
	orDefault(&c.MaxInFlight, 4096)
	orDefault(&c.CacheEntries, 4096)
	orDefault(&c.CacheBytes, 4<<20)
	orDefault(&c.MaxTTL, 24*time.Hour)
	orDefault(&c.TCPConns, 64)
	orDefault(&c.TCPPipelined, 16)
	orDefault(&c.TCPIdle, 10*time.Second)
	return c
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (c Config) validate() error {
	var errs []error
	if c.Record == nil {
		errs = append(errs, errors.New("no Record: every verdict must be recorded"))
	}
	if c.Deny != DenyRefused && c.Deny != DenyNXDomain {
		errs = append(errs, fmt.Errorf("deny response %q: must be %q or %q", c.Deny, DenyRefused, DenyNXDomain))
	}
	if len(c.Upstreams) == 0 {
		errs = append(errs, errors.New("no upstream: name at least one resolver"))
	}
	for i, u := range c.Upstreams {
		if u.Protocol != Do53UDP && u.Protocol != Do53TCP {
			errs = append(errs, fmt.Errorf("upstream %d (%s): protocol %q: must be %q or %q", i, u.ID, u.Protocol, Do53UDP, Do53TCP))
		}
		if u.Dial == nil {
			errs = append(errs, fmt.Errorf("upstream %d (%s): no Dial", i, u.ID))
		}
	}
	if c.TryTimeout < 0 || c.Tries < 0 || c.MaxInFlight < 0 || c.CacheBytes < 0 ||
		c.MinTTL < 0 || c.MaxTTL < c.MinTTL || c.TCPConns < 0 || c.TCPPipelined < 0 || c.TCPIdle < 0 {
		errs = append(errs, errors.New("limits must not be negative, and MinTTL not above MaxTTL"))
	}
	return errors.Join(errs...)
}

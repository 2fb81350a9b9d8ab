package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/egress/guard"
	"cellos.io/cellos/egress/relay"
	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

// A Cell makes sockets in its network namespace.
type Cell interface {
	// Socket returns a plain socket that does not block: neither bound nor
	// connected, without options.
	Socket(ctx context.Context, kind cellinit.SocketKind) (*os.File, error)
}

// Flow is a connection through the relay, and Refusal a packet that the
// firewall refused.
type (
	Flow    = relay.Flow
	Refusal = guard.Refusal
)

// Reasons of a Flow beyond those of a plan.
const (
	ReasonRebinding   = relay.ReasonRebinding
	ReasonRateLimited = relay.ReasonRateLimited
)

// Options are what a network is made of. All but MaxConns are required.
type Options struct {
	Cell  Cell
	Plan  *plan.Network
	Names *Names
	// Resolver resolves names for the relay.
	Resolver relay.Resolver

	// Decided records what the relay does about a connection before it does
	// it; after an error the connection is reset. Ended records it when it is
	// over. Both may be called by several goroutines at once.
	Decided func(Flow) error
	Ended   func(Flow)
	// Refused records a packet that the firewall refused, and Unlogged how
	// many more it did of which nothing else is known.
	Refused  func(Refusal)
	Unlogged func(packets uint64)
	// Failed is told of what breaks while the cell runs. It is the safe
	// kind of breaking: something can no longer be reached.
	Failed func(error)
	// MaxConns bounds the connections that are open at a time. By default it
	// is what the relay finds reasonable.
	MaxConns int
}

// A Network is open until Close.
type Network struct {
	opts  Options
	nft   *netlink.Conn
	host  *relay.HostRoutes
	relay *relay.Relay
	log   *guard.Refusals

	logged  uint64 // by the reader alone
	reading sync.WaitGroup
	serving sync.WaitGroup

	// UDP and TCP are where the workload's queries to port 53 of any address
	// arrive. They are the resolver's to close.
	UDP []*net.UDPConn
	TCP []*net.TCPListener
	// Servers are where those to the declared servers arrive.
	Servers []ServerSockets
}

// ServerSockets is where the queries to one declared name server arrive.
type ServerSockets struct {
	Addr netip.AddrPort
	UDP  *net.UDPConn
	TCP  *net.TCPListener
}

// Open makes the network of a cell in which nothing runs yet. After an error
// nothing may.
func Open(ctx context.Context, o Options) (_ *Network, err error) {
	if o.Cell == nil || o.Plan == nil || o.Names == nil || o.Resolver == nil || o.Decided == nil ||
		o.Ended == nil || o.Refused == nil || o.Unlogged == nil || o.Failed == nil {
		return nil, errors.New("open the network of the cell: the options are not complete")
	}
	n := &Network{opts: o}
	defer func() {
		if err != nil {
			n.abandon()
		}
	}()
	if err := n.configure(ctx); err != nil {
		return nil, err
	}
	// Whoever loses the rules from here on loses the way to the relay.
	if err := n.openGuard(ctx); err != nil {
		return nil, err
	}
	listeners, err := n.openRelay(ctx)
	if err != nil {
		return nil, err
	}
	if err := n.openResolver(ctx); err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, err
	}
	n.reading.Go(func() {
		if err := n.log.Read(n.refused); err != nil {
			o.Failed(err)
		}
	})
	for _, l := range listeners {
		n.serving.Go(func() {
			if err := n.relay.Serve(l); err != nil {
				o.Failed(err)
			}
		})
	}
	return n, nil
}

// configure gives lo its addresses and routes.
func (n *Network) configure(ctx context.Context) error {
	c, err := n.netlink(ctx, cellinit.NetlinkRoute)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := guard.Configure(c, n.opts.Plan); err != nil {
		return fmt.Errorf("configure the network of the cell: %w", err)
	}
	return nil
}

func (n *Network) netlink(ctx context.Context, kind cellinit.SocketKind) (*netlink.Conn, error) {
	f, err := n.opts.Cell.Socket(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket in the cell: %w", err)
	}
	return netlink.NewConn(f)
}

// openGuard binds the log before there is anything to log.
func (n *Network) openGuard(ctx context.Context) error {
	f, err := n.opts.Cell.Socket(ctx, cellinit.NetlinkNetfilter)
	if err != nil {
		return fmt.Errorf("open a netlink socket in the cell: %w", err)
	}
	if n.log, err = guard.OpenRefusals(f); err != nil {
		return err
	}
	if n.nft, err = n.netlink(ctx, cellinit.NetlinkNetfilter); err != nil {
		return err
	}
	return guard.Load(n.nft, n.opts.Plan.Rules())
}

func (n *Network) openRelay(ctx context.Context) (listeners []*net.TCPListener, err error) {
	if n.host, err = relay.OpenHostRoutes(); err != nil {
		return nil, err
	}
	n.opts.Names.isHost = n.host.IsHost
	n.relay, err = relay.New(relay.Config{
		Plan: n.opts.Plan, NameOf: n.opts.Names.NameOf, Resolver: n.opts.Resolver,
		IsHost: n.host.IsHost, Decided: n.opts.Decided, Ended: n.opts.Ended,
		MaxConns: n.opts.MaxConns,
	})
	if err != nil {
		return nil, err
	}
	for _, at := range []struct {
		addr netip.AddrPort
		kind cellinit.SocketKind
	}{{n.opts.Plan.Relay4, cellinit.TCP4}, {n.opts.Plan.Relay6, cellinit.TCP6}} {
		if !at.addr.IsValid() {
			continue
		}
		f, err := n.opts.Cell.Socket(ctx, at.kind)
		var l *net.TCPListener
		if err == nil {
			l, err = relay.Listen(f, at.addr)
		}
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, fmt.Errorf("open the relay of the cell: %w", err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func (n *Network) refused(r Refusal) {
	n.logged++
	n.opts.Refused(r)
}

// Refused is how many packets the firewall has refused so far.
func (n *Network) Refused() (uint64, error) { return guard.Refused(n.nft) }

// Close ends the relay and accounts for everything that was refused. The cell
// must be gone. When it returns, nothing more is recorded.
func (n *Network) Close() error {
	var errs []error
	errs = append(errs, n.relay.Close())
	n.serving.Wait()
	n.log.End()
	n.reading.Wait()
	counted, err := n.Refused()
	if err != nil {
		errs = append(errs, err)
	} else if counted > n.logged {
		n.opts.Unlogged(counted - n.logged)
	}
	n.release()
	return errors.Join(errs...)
}

// abandon undoes what of Open was done.
func (n *Network) abandon() {
	if n.relay != nil {
		n.relay.Close()
	}
	n.closeResolver()
	n.release()
}

func (n *Network) release() {
	if n.log != nil {
		n.log.Close()
	}
	if n.nft != nil {
		n.nft.Close()
	}
	if n.host != nil {
		n.host.Close()
	}
}

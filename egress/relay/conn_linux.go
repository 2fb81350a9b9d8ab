package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cellos.io/cellos/plan"
)

// A conn is one connection of a client and, once dialled, of a server.
type conn struct {
	relay  *Relay
	client *net.TCPConn
	flow   Flow
	exact  bool          // a rule names the destination's address alone
	sent   chan struct{} // closed when nothing more is passed on to the server

	mu     sync.Mutex
	server *net.TCPConn
	failed error // why the connection was aborted
}

// serve relays the connection from the decision to its end.
func (c *conn) serve() {
	ctx, cancel := context.WithTimeout(c.relay.ctx, dialTimeout)
	defer cancel()
	c.decide()
	var addrs []netip.Addr
	var failed error
	if c.flow.Allow {
		addrs, failed = c.addresses(ctx)
	}
	// The decision is on record before anything leaves the host for the
	// destination.
	if err := c.relay.cfg.Decided(c.flow); err != nil {
		failed = fmt.Errorf("record the decision: %w", err)
	}
	if failed != nil || !c.flow.Allow {
		close(c.sent)
		c.end(failed)
		return
	}
	server, err := dialFirst(ctx, c.relay.cfg.Dial, addrs, c.flow.Destination.Port())
	if err == nil {
		c.flow.Upstream = addrPort(server.RemoteAddr())
		err = c.join(server)
	}
	if err != nil {
		close(c.sent)
		c.end(err)
		return
	}
	c.move(server)
}

// decide asks the plan what the destination stands for.
func (c *conn) decide() {
	dst := c.flow.Destination
	d := c.relay.cfg.Plan.Decide(plan.TCP, dst)
	c.flow.Allow, c.flow.Reason, c.flow.Rule, c.flow.Name, c.exact = d.Allow, d.Reason, d.Rule, d.Name, d.Exact
	if i, bound := c.relay.cfg.Plan.Locate(dst.Addr()); bound && c.relay.cfg.Plan.Bound[i].Size() > 1 {
		name, taken := c.relay.cfg.NameOf(dst.Addr())
		if !taken {
			// No name under the wildcard has this address.
			c.flow.Allow, c.flow.Reason = false, plan.IPNotBound
			return
		}
		c.flow.Name = name
	}
}

// end resets the client and records the flow.
func (c *conn) end(err error) {
	reset(c.client)
	c.flow.Err = err
	c.flow.Duration = time.Since(c.flow.Began)
	c.relay.cfg.Ended(c.flow)
}

// reset closes a connection with RST, so that nobody takes it for one that was
// served (socket(7), SO_LINGER).
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

// addresses finds out where the destination leads. If it is nowhere where it
// may, the decision is turned.
func (c *conn) addresses(ctx context.Context) ([]netip.Addr, error) {
	addrs := []netip.Addr{c.flow.Destination.Addr()}
	if c.flow.Name != "" {
		var err error
		if addrs, err = c.relay.cfg.Resolver.Resolve(ctx, c.flow.Name); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", c.flow.Name, err)
		}
		if len(addrs) == 0 {
			return nil, fmt.Errorf("resolve %s: %w", c.flow.Name, errNoAddress)
		}
	}
	var permitted []netip.Addr
	for _, a := range addrs {
		a = a.WithZone("").Unmap()
		ok, err := c.permits(a)
		if err != nil {
			return nil, err
		}
		if ok {
			permitted = append(permitted, a)
		}
	}
	if len(permitted) == 0 {
		c.flow.Allow, c.flow.Reason = false, ReasonRebinding
		return nil, errSpecial
	}
	return permitted, nil
}

var (
	errNoAddress = errors.New("the name has no address")
	errSpecial   = errors.New("it leads only into special ranges or to the host itself")
)

// permits reports whether the destination may lead to an address. Only a rule
// that names one address, or a list of the document that covers it, is
// explicit enough for one of the host's own.
func (c *conn) permits(a netip.Addr) (bool, error) {
	n := c.relay.cfg.Plan
	named := c.flow.Name != ""
	if named && !n.Permits(a) {
		return false, nil
	}
	if c.exact || named && n.Covers(a) {
		return true, nil
	}
	for _, end := range []netip.Addr{a, plan.Embedded(a)} {
		host, err := c.relay.cfg.IsHost(end)
		if err != nil {
			return false, fmt.Errorf("find out whether %s is the host: %w", end, err)
		}
		if host {
			return false, nil
		}
	}
	return true, nil
}

// join makes the server part of the connection, unless it has been aborted.
func (c *conn) join(server *net.TCPConn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		reset(server)
		return c.failed
	}
	c.server = server
	return nil
}

// abort ends the connection because of an error, the first of which is kept.
// What was passed on already is not taken back.
func (c *conn) abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return
	}
	c.failed = err
	reset(c.client)
	if c.server == nil {
		return
	}
	select {
	case <-c.sent:
		c.server.Close()
	default:
		// The server must not take for complete what is not.
		reset(c.server)
	}
}

// move passes bytes in both directions until both have ended.
func (c *conn) move(server *net.TCPConn) {
	received := make(chan struct{})
	go func() {
		defer close(received)
		n, err := c.relay.pipes.pump(c.client, server)
		c.flow.Received = n
		c.half(c.client, err)
	}()
	n, err := c.relay.pipes.pump(server, c.client)
	c.flow.Sent = n
	c.half(server, err)
	close(c.sent)
	<-received
	c.mu.Lock()
	c.flow.Err = c.failed
	c.failed = net.ErrClosed // nothing is left to abort
	c.mu.Unlock()
	c.client.Close()
	server.Close()
	c.flow.Duration = time.Since(c.flow.Began)
	c.relay.cfg.Ended(c.flow)
}

// half ends one direction: the end of a stream is passed on as such, an error
// as a reset of both sides.
func (c *conn) half(dst *net.TCPConn, err error) {
	if err != nil {
		c.abort(err)
		return
	}
	// If that fails the other side is gone already; the other direction says
	// why.
	_ = dst.CloseWrite()
}

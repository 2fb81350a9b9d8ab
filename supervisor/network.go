package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"cellos.io/cellos/egress/dnsproxy"
	"cellos.io/cellos/event"
	"cellos.io/cellos/ledger"
	"cellos.io/cellos/plan"
)

// rcodeServFail is SERVFAIL (RFC 1035 section 4.1.1).
const rcodeServFail = 2

// openNetwork boots the cell and starts its resolver. The resolver listens
// before the workload can ask it anything.
func (c *run) openNetwork(ctx context.Context) error {
	if err := c.boot(ctx); err != nil {
		return err
	}
	if c.plan.DNS == nil {
		return nil
	}
	if err := c.openResolver(); err != nil {
		// The gap is recorded even where the run may go on without.
		gap := event.DNSQuery{
			Decision: event.Deny, ReasonCode: string(dnsproxy.ReasonUpstreamFailure), ResponseRcode: rcodeServFail,
			UpstreamResolverID: c.plan.DNS.Upstreams[0].ID, Transport: string(dnsproxy.UDP),
		}
		if err := c.observe(gap); err != nil {
			return err
		}
		if c.plan.Profile != plan.Portable {
			return refuse(ExitCannot, reasonCannot, fmt.Errorf("the cell's resolver cannot be opened: %w", err))
		}
		c.s.Console.Warn(fmt.Sprintf("the cell runs without a resolver: %v", err))
		return nil
	}
	c.s.Console.Step("network", fmt.Sprintf("resolver answers %d names", len(c.plan.DNS.Names)))
	return nil
}

// boot clones PID 1 with the namespaces of the plan.
func (c *run) boot(ctx context.Context) error {
	c.plan.RunID = c.id
	resources, err := c.s.Backend.Resources(c.plan)
	if err != nil {
		return refuse(ExitCannot, reasonCannot, err)
	}
	for _, r := range resources {
		if _, err := c.ledger.Intend(ledger.Kind(r.Kind), r.Key); err != nil {
			return err
		}
	}
	lockPath := filepath.Join(c.dir.path, initLockName)
	entry, err := c.ledger.Intend(kindProcess, lockPath)
	if err != nil {
		return err
	}
	lock, err := tryLock(lockPath)
	if err != nil {
		return err
	}
	defer lock.Close() // PID 1 has its own copy; ours must not outlive the boot
	streams, err := openStreams(c.s.Stdin, c.s.Stdout, c.s.Stderr)
	if err != nil {
		return err
	}
	c.streams = streams
	booted, err := c.s.Backend.Boot(ctx, c.plan, streams.child, lock)
	streams.handedOver()
	if err != nil {
		return fmt.Errorf("boot the cell: %w", err)
	}
	c.cell = booted
	started, err := startTime(booted.PID())
	if err != nil {
		return fmt.Errorf("boot the cell: %w", err)
	}
	// Until this line is written PID 1 knows of no workload, so a clean-up
	// that does not find it has only PID 1 to wait for.
	return c.ledger.Bind(entry, map[string]string{
		attrPID:       strconv.Itoa(booted.PID()),
		attrStartTime: started,
	})
}

// openResolver starts the DNS proxy on its addresses inside the cell.
func (c *run) openResolver() error {
	dns := c.plan.DNS
	config := dnsproxy.Config{
		Names:  dns.Names,
		Types:  dns.Types,
		Deny:   dnsproxy.DenyResponse(dns.DenyResponse),
		Record: c.recordDNS,
	}
	for _, u := range dns.Upstreams {
		config.Upstreams = append(config.Upstreams, dnsproxy.Upstream{
			ID: u.ID, Protocol: dnsproxy.Protocol(u.Protocol), Dial: c.dialer(u),
		})
	}
	proxy, err := dnsproxy.New(config)
	if err != nil {
		return err
	}
	for _, addr := range dns.Listen {
		udp, err := c.cell.ListenUDP(addr)
		if err != nil {
			return errors.Join(fmt.Errorf("listen on udp %s in the cell: %w", addr, err), proxy.Close())
		}
		go c.serve(func() error { return proxy.ServeUDP(udp) })
		tcp, err := c.cell.ListenTCP(addr)
		if err != nil {
			return errors.Join(fmt.Errorf("listen on tcp %s in the cell: %w", addr, err), proxy.Close())
		}
		go c.serve(func() error { return proxy.ServeTCP(tcp) })
	}
	c.resolver = proxy
	return nil
}

// serve answers queries until the resolver is closed. A socket that breaks
// earlier leaves the cell without answers, which is safe, but is said.
func (c *run) serve(answer func() error) {
	if err := answer(); err != nil {
		c.s.Console.Warn(fmt.Sprintf("the cell's resolver has stopped: %v", err))
	}
}

// dialer connects to an upstream from where it is to be reached: the host's
// network, or the cell's.
func (c *run) dialer(u plan.Upstream) func(ctx context.Context, network string) (net.Conn, error) {
	if u.InCell {
		return func(ctx context.Context, network string) (net.Conn, error) {
			return c.cell.Dial(ctx, network, u.Addr)
		}
	}
	return func(ctx context.Context, network string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, u.Addr.String())
	}
}

// recordDNS turns a verdict of the resolver into an event. The proxy calls it
// before it answers, and answers nothing if it fails.
func (c *run) recordDNS(v dnsproxy.Verdict) error {
	query := event.DNSQuery{
		QueryName: v.Name, QueryType: v.Type,
		Decision: event.Deny, ReasonCode: string(v.Reason), ResponseRcode: v.Rcode,
		UpstreamResolverID: v.ResolverID, Answers: v.Answers,
		DurationMicros: v.Duration.Microseconds(), Transport: string(v.Transport),
	}
	if v.Allow {
		query.Decision = event.Allow
	}
	return c.observe(query)
}

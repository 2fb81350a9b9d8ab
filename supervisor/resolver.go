package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/egress/dnsproxy"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
)

// rcodeServFail is SERVFAIL (RFC 1035 section 4.1.1).
const rcodeServFail = 2

// openLoopbackResolver starts the resolver of a cell that has no way out but
// its queries.
func (c *run) openLoopbackResolver() error {
	if c.plan.DNS == nil {
		return nil
	}
	proxy, err := c.newResolver(c.plan.DNS.Upstreams, nil)
	if err == nil {
		err = c.listen(proxy, c.plan.DNS.Listen)
	}
	if err != nil {
		return c.withoutResolver(err)
	}
	c.s.Console.Step("network", fmt.Sprintf("resolver answers %d names", len(c.plan.DNS.Names)))
	return nil
}

// withoutResolver records that the cell has no resolver although it should,
// also where the run may go on like that.
func (c *run) withoutResolver(cause error) error {
	gap := event.DNSQuery{
		Decision: event.Deny, ReasonCode: string(dnsproxy.ReasonUpstreamFailure), ResponseRcode: rcodeServFail,
		UpstreamResolverID: c.plan.DNS.Upstreams[0].ID, Transport: string(dnsproxy.UDP),
	}
	if err := c.observeDNS(gap); err != nil {
		return err
	}
	if c.plan.Profile != plan.Portable {
		return refuse(ExitCannot, reasonCannot, fmt.Errorf("the cell's resolver cannot be opened: %w", cause))
	}
	c.s.Console.Warn(fmt.Sprintf("the cell runs without a resolver: %v", cause))
	return nil
}

// newResolver makes a DNS proxy that asks the given upstreams. It serves
// nothing yet. With names, it answers with their bound addresses.
func (c *run) newResolver(upstreams []plan.Upstream, names dnsproxy.Binder) (*dnsproxy.Proxy, error) {
	dns := c.plan.DNS
	config := dnsproxy.Config{
		Names:  dns.Names,
		Types:  dns.Types,
		Deny:   dnsproxy.DenyResponse(dns.DenyResponse),
		Bound:  names,
		Record: c.recordDNS,
	}
	for _, u := range upstreams {
		config.Upstreams = append(config.Upstreams, dnsproxy.Upstream{
			ID: u.ID, Protocol: dnsproxy.Protocol(u.Protocol), Dial: c.dialer(u),
		})
	}
	proxy, err := dnsproxy.New(config)
	if err != nil {
		return nil, err
	}
	c.resolvers = append(c.resolvers, proxy)
	return proxy, nil
}

// listen has the proxy serve addresses of the cell's loopback.
func (c *run) listen(proxy *dnsproxy.Proxy, addrs []netip.AddrPort) error {
	for _, addr := range addrs {
		udp, err := c.cell.ListenUDP(addr)
		if err != nil {
			return fmt.Errorf("listen on udp %s in the cell: %w", addr, err)
		}
		tcp, err := c.cell.ListenTCP(addr)
		if err != nil {
			return errors.Join(fmt.Errorf("listen on tcp %s in the cell: %w", addr, err), udp.Close())
		}
		c.serve(proxy, udp, tcp)
	}
	return nil
}

// serve answers the queries that arrive at a pair of sockets, until the proxy
// is closed. A socket that breaks earlier leaves the cell without answers,
// which is safe, but is said.
func (c *run) serve(proxy *dnsproxy.Proxy, udp *net.UDPConn, tcp *net.TCPListener) {
	watch := func(answer func() error) {
		if err := answer(); err != nil {
			c.s.Console.Warn(fmt.Sprintf("the cell's resolver has stopped: %v", err))
		}
	}
	go watch(func() error { return proxy.ServeUDP(udp) })
	go watch(func() error { return proxy.ServeTCP(tcp) })
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
		UpstreamResolverID: v.ResolverID, Answers: v.Answers, BoundAddress: v.Bound,
		DurationMicros: v.Duration.Microseconds(), Transport: string(v.Transport),
	}
	if v.Allow {
		query.Decision = event.Allow
	}
	return c.observeDNS(query)
}

// observeDNS counts a decision of the resolver. It may take effect only if
// this returns nil: the trail then has it.
func (c *run) observeDNS(q event.DNSQuery) error {
	return c.observe(journal.Key{
		Type: q.EventType(), Name: q.QueryName, Protocol: q.QueryType + "/" + q.Transport,
		Decision: q.Decision, Reason: q.ReasonCode,
	}, func() event.Counted {
		c.tellDeniedQuery(q)
		return q
	})
}

// tellDeniedQuery shows a person a denial, and its remedy.
func (c *run) tellDeniedQuery(q event.DNSQuery) {
	if q.Decision != event.Deny {
		return
	}
	denial := console.Denial{What: fmt.Sprintf("dns: %s %s: %s", q.QueryName, q.QueryType, q.ReasonCode)}
	switch dnsproxy.Reason(q.ReasonCode) {
	case dnsproxy.ReasonNotInAllowlist:
		// Nobody should paste what is no name into a shell or a document.
		if name, err := cell.NormalizeHost(q.QueryName); err == nil {
			denial.Rule = fmt.Sprintf("add %q to spec.authority.dnsAuthority.hostnameAllowlist", name)
			denial.Flag = fmt.Sprintf("add --allow %s:443, or with the port that it needs", name)
		}
	case dnsproxy.ReasonQueryType:
		denial.Rule = fmt.Sprintf("add %q to spec.authority.dnsAuthority.allowedQueryTypes", q.QueryType)
	case dnsproxy.ReasonRebinding:
		denial.Rule = "add the address to spec.authority.dnsAuthority.rebindingPolicy.responseIpAllowlist"
	}
	c.s.Console.Denied(denial)
}

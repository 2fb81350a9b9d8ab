package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"cellos.io/cellos/egress"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
)

// dnsPort is where the workload's queries go, whichever address it asks.
const dnsPort = 53

// openEgress loads the cell's firewall, starts the relay and the resolver. On
// any error the cell has no network at all.
func (c *run) openEgress(ctx context.Context) error {
	names := egress.NewNames(c.plan.Network)
	c.names = names
	options := egress.Options{
		Cell: c.cell, Plan: c.plan.Network, Names: names, Resolver: noResolver{},
		Decided: c.recordConnection, Ended: c.recordFlow, Refused: c.recordRefusal, Unlogged: c.recordUnlogged,
		Failed: func(err error) { c.s.Console.Warn(fmt.Sprintf("the cell's network: %v", err)) },
	}
	if c.plan.DNS != nil {
		proxy, err := c.newResolver(c.plan.DNS.Upstreams, names)
		if err != nil {
			return err
		}
		options.Resolver = proxy
	}
	network, err := egress.Open(ctx, options)
	if err != nil {
		return refuse(ExitCannot, reasonCannot, fmt.Errorf("%w (cellos doctor says what this host lacks)", err))
	}
	c.network = network
	if c.plan.DNS != nil {
		proxy := c.resolvers[0]
		for i, udp := range network.UDP {
			c.serve(proxy, udp, network.TCP[i])
		}
		// Port 53 is answered at every address; a declared endpoint of the
		// loopback may have another.
		others := slices.DeleteFunc(slices.Clone(c.plan.DNS.Listen), func(a netip.AddrPort) bool { return a.Port() == dnsPort })
		if err := c.listen(proxy, others); err != nil {
			return err
		}
	}
	for _, server := range network.Servers {
		if err := c.serveDeclared(server, names); err != nil {
			return err
		}
	}
	c.s.Console.Step("network", fmt.Sprintf("%d names, %d rules", len(c.plan.Network.Bound), len(c.doc.Spec.Authority.EgressRules)))
	return nil
}

// serveDeclared answers in the place of a declared name server, by the same
// rules, and asks it.
func (c *run) serveDeclared(server egress.ServerSockets, names *egress.Names) error {
	if c.plan.DNS == nil {
		return errors.Join(server.UDP.Close(), server.TCP.Close())
	}
	proxy, err := c.newResolver([]plan.Upstream{{ID: server.Addr.String(), Addr: server.Addr, Protocol: "do53-udp"}}, names)
	if err != nil {
		return err
	}
	c.serve(proxy, server.UDP, server.TCP)
	return nil
}

// noResolver resolves for a cell that may resolve nothing.
type noResolver struct{}

func (noResolver) Resolve(context.Context, string) ([]netip.Addr, error) {
	return nil, errors.New("the cell has no resolver")
}

// recordConnection records what was decided about a connection, before any
// byte of it is passed on.
func (c *run) recordConnection(f egress.Flow) error {
	decision := event.L7EgressDecision{
		Action: action(f.Allow), ReasonCode: string(f.Reason),
		Destination: f.Destination.String(), Name: f.Name, RuleIndex: ruleIndex(f.Rule),
	}
	return c.observe(flowKey(decision, f), func() event.Counted {
		if !f.Allow {
			c.tellRefused("tcp", f.Name, f.Destination, string(f.Reason))
		}
		return decision
	})
}

// recordFlow records a connection that is over. Its bytes have been passed on
// already: if the trail is lost, that ends the run.
func (c *run) recordFlow(f egress.Flow) {
	flow := event.NetworkFlowDecision{
		Protocol: "tcp", Source: f.Client.String(), Destination: f.Destination.String(), Name: f.Name,
		RuleIndex: ruleIndex(f.Rule), Action: action(f.Allow), ReasonCode: string(f.Reason),
		BytesSent: f.Sent, BytesReceived: f.Received, DurationMicros: f.Duration.Microseconds(),
	}
	if f.Upstream.IsValid() {
		flow.Upstream = f.Upstream.String()
	}
	flow.Errno = egress.Errno(f.Err)
	key := flowKey(flow, f)
	key.Reason += "/" + flow.Errno
	_ = c.observe(key, func() event.Counted { return flow })
}

// flowKey tells connections apart by where they lead, never by the port that
// the workload chose.
func flowKey(d event.Data, f egress.Flow) journal.Key {
	name := f.Name
	if name == "" {
		name = f.Destination.Addr().String()
	}
	return journal.Key{
		Type: d.EventType(), Name: name, Port: f.Destination.Port(), Protocol: "tcp",
		Decision: action(f.Allow), Reason: string(f.Reason),
	}
}

// recordRefusal records a packet that the firewall refused.
func (c *run) recordRefusal(r egress.Refusal) {
	protocol := plan.Transport(r.Protocol)
	why := c.plan.Network.Decide(protocol, r.Dst)
	reason := why.Reason
	if why.Allow {
		// The address is declared: the source, or what kind of packet it
		// is, was not.
		reason = plan.RuleMiss
	}
	name := why.Name
	if exact, ok := c.names.NameOf(r.Dst.Addr()); ok {
		name = exact
	}
	flow := event.NetworkFlowDecision{
		Protocol: protocol.String(), Source: r.Src.String(), Destination: r.Dst.String(), Name: name,
		Action: event.Deny, ReasonCode: string(reason), Packets: 1,
	}
	key := journal.Key{
		Type: flow.EventType(), Name: r.Dst.Addr().String(), Port: r.Dst.Port(), Protocol: flow.Protocol,
		Decision: flow.Action, Reason: flow.ReasonCode,
	}
	_ = c.observe(key, func() event.Counted {
		c.tellRefused(flow.Protocol, name, r.Dst, flow.ReasonCode)
		return flow
	})
}

// recordUnlogged accounts for refusals of which only the number is known.
func (c *run) recordUnlogged(packets uint64) {
	now := event.Timestamp{Time: time.Now()}
	_ = c.emit(event.NetworkFlowDecision{
		Action: event.Deny, ReasonCode: event.ReasonRateLimited, Packets: int64(packets),
		Tally: event.Tally{Count: int64(packets), FirstTime: now, LastTime: now},
	})
}

// maxTold bounds how many different denials a person is shown.
const maxTold = 100

// tellRefused shows a person a refused destination, once, and the rule that
// would allow it.
func (c *run) tellRefused(protocol, name string, dst netip.AddrPort, reason string) {
	where := dst.String()
	host := dst.Addr().String()
	if name != "" {
		where = fmt.Sprintf("%s:%d", name, dst.Port())
		host = name
	}
	c.toldMu.Lock()
	_, told := c.told[protocol+where]
	if !told && len(c.told) < maxTold {
		c.told[protocol+where] = struct{}{}
	}
	full := len(c.told) >= maxTold
	c.toldMu.Unlock()
	if told || full {
		return
	}
	denial := console.Denial{What: fmt.Sprintf("%s %s: %s", protocol, where, reason)}
	if protocol == "tcp" && dst.Port() != 0 {
		denial.Rule = fmt.Sprintf("add {host: %q, port: %d, protocol: tcp} to spec.authority.egressRules", host, dst.Port())
		denial.Flag = fmt.Sprintf("add --allow %s", net.JoinHostPort(host, fmt.Sprint(dst.Port())))
	}
	c.s.Console.Denied(denial)
}

func action(allow bool) string {
	if allow {
		return event.Allow
	}
	return event.Deny
}

// ruleIndex is nil for no rule.
func ruleIndex(rule int) *int {
	if rule == plan.NoRule {
		return nil
	}
	return &rule
}

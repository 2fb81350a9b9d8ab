package plan

import (
	"fmt"
	"net/netip"

	"cellos.io/cellos/cell"
)

// cellResolver is where a cell's resolver always listens.
var cellResolver = netip.MustParseAddrPort("127.0.0.1:53")

// resolver decides whether the cell has a resolver, which names it answers,
// where it listens and whom it asks (SPEC §1.1).
func (c *compiler) resolver() {
	names := c.names()
	switch c.host.DNSProxy {
	case Off:
		if len(names) > 0 {
			c.degrade("CELLOS_DNS_PROXY", "names may be resolved, but the resolver is switched off: none will be", "unset it")
		}
		return
	case Auto:
		if len(names) == 0 {
			return
		}
	}
	if !c.host.Namespaces.Net {
		c.degrade("spec.authority.dnsAuthority",
			"the cell has no network namespace of its own, so its DNS queries cannot be held to the list of names",
			"add net to CELLOS_SUBPROCESS_UNSHARE")
		return
	}
	upstreams, listen := c.upstreams()
	if len(upstreams) == 0 {
		return
	}
	c.plan.DNS = &DNS{
		Names:        names,
		Types:        c.queryTypes(),
		DenyResponse: c.denyResponse(),
		Listen:       listen,
		Upstreams:    upstreams,
	}
}

// names are the allow-list and the names of the egress rules, without
// repetition. Invalid ones cannot occur in a valid document.
func (c *compiler) names() []string {
	var hosts []string
	if dns := c.spec.Authority.DNSAuthority; dns != nil {
		hosts = append(hosts, dns.HostnameAllowlist...)
	}
	for _, rule := range c.spec.Authority.EgressRules {
		hosts = append(hosts, rule.Host)
	}
	seen := map[string]bool{}
	var names []string
	for _, host := range hosts {
		if isAddress(host) || host == cell.HostLoopback {
			continue
		}
		pattern, err := cell.ParseHostPattern(host)
		if err != nil || seen[pattern.String()] {
			continue
		}
		seen[pattern.String()] = true
		names = append(names, pattern.String())
	}
	return names
}

func isAddress(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(host)
	return err == nil
}

func (c *compiler) queryTypes() []string {
	if dns := c.spec.Authority.DNSAuthority; dns != nil && len(dns.AllowedQueryTypes) > 0 {
		return dns.AllowedQueryTypes
	}
	return defaultQueryTypes
}

func (c *compiler) denyResponse() DenyResponse {
	if dns := c.spec.Authority.DNSAuthority; dns != nil && dns.DenyResponse != "" {
		return DenyResponse(dns.DenyResponse)
	}
	if c.host.Relay {
		return DenyNXDomain // answers are bound
	}
	return DenyRefused
}

// upstreams are the resolvers to ask and the addresses to listen at. None
// means that the cell runs without a resolver.
func (c *compiler) upstreams() (upstreams []Upstream, listen []netip.AddrPort) {
	listen = []netip.AddrPort{cellResolver}
	dns := c.spec.Authority.DNSAuthority
	if dns == nil || len(dns.Resolvers) == 0 {
		return c.hostUpstreams(), listen
	}
	for i, r := range dns.Resolvers {
		addr, err := netip.ParseAddrPort(r.Endpoint)
		if err != nil || addr.Port() == 0 {
			c.degrade(fmt.Sprintf("spec.authority.dnsAuthority.resolvers[%d].endpoint", i),
				fmt.Sprintf("%q is not a literal IP:port, so this resolver cannot be asked", r.Endpoint),
				`write an address such as "192.0.2.53:53"`)
			continue
		}
		// A workload that asks the declared endpoint itself finds the
		// cell's own resolver there.
		if addr.Addr().IsLoopback() && addr != cellResolver {
			listen = append(listen, addr)
		}
		upstreams = append(upstreams, c.override(Upstream{ID: r.ResolverID, Addr: addr, Protocol: r.Protocol}))
	}
	return upstreams, listen
}

func (c *compiler) hostUpstreams() []Upstream {
	var upstreams []Upstream
	for _, addr := range c.host.Nameservers {
		upstreams = append(upstreams, c.override(Upstream{ID: "host", Addr: addr, Protocol: "do53-udp"}))
		if c.host.UpstreamOverride.IsValid() {
			return upstreams
		}
	}
	if len(upstreams) == 0 {
		if c.host.UpstreamOverride.IsValid() {
			return []Upstream{c.override(Upstream{ID: "override", Protocol: "do53-udp"})}
		}
		c.degrade("spec.authority.dnsAuthority.resolvers", "none are declared and the host's resolv.conf names none",
			"declare a resolver")
	}
	return upstreams
}

// override points a resolver at the operator's test upstream. A loopback
// address is the cell's own loopback, which makes the workload its own
// resolver: see Compile's caller for who may ask for that.
func (c *compiler) override(u Upstream) Upstream {
	over := c.host.UpstreamOverride
	if !over.IsValid() {
		return u
	}
	u.Addr = over
	if over.Addr().IsLoopback() {
		u.InCell = true
		if c.host.Profile != Portable || !c.host.TestDouble {
			c.refuse("CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE",
				"a loopback address is inside the cell, where the workload could answer its own queries",
				"use an address outside, or profile portable with backend stub")
		}
	}
	return u
}

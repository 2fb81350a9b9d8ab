package cell

import (
	"net/netip"
	"strings"
)

// The values of dnsAuthority.answers.
const (
	AnswersBound = "bound"
	AnswersReal  = "real"
)

// queryTypes are the record types that allowedQueryTypes may name: those of
// the IANA registry that a workload asks for. Transfers and ANY are not.
var queryTypes = []string{
	"A", "AAAA", "CNAME", "HTTPS", "SVCB", "PTR", "TXT", "MX", "SRV", "NS",
	"SOA", "CAA", "DNAME", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3",
	"NSEC3PARAM", "CDS", "CDNSKEY", "CSYNC", "TLSA", "SMIMEA", "SSHFP",
	"OPENPGPKEY", "NAPTR", "URI", "LOC", "HINFO", "RP", "ZONEMD",
}

// blocksDirect reports whether the proxy answers all DNS of the workload.
func (a *DNSAuthority) blocksDirect() bool {
	return a == nil || a.BlockDirectWorkloadDNS == nil || *a.BlockDirectWorkloadDNS
}

// real reports whether answers are declared to be the upstream's own.
func (a *DNSAuthority) real() bool { return a != nil && a.Answers == AnswersReal }

// egress checks rules one by one and against each other.
func (v validator) egress(rules []EgressRule, proxied, realAnswers bool, at *path) {
	type key struct {
		host  string
		port  int64
		proto Protocol
	}
	first := make(map[key]int, len(rules))
	parsed := make([]Target, len(rules))
	for i, r := range rules {
		t, err := ParseTarget(r.Host)
		if err != nil || r.Port < 1 || r.Port > 65535 {
			continue
		}
		parsed[i] = t
		if broken := targetRule(t, r, realAnswers); broken != "" {
			v.wrong(at.at(i).field("host"), broken)
		}
		if field, broken := portRule(t, r, proxied); broken != "" {
			v.wrong(at.at(i).field(field), broken)
		}
		k := key{t.String(), r.Port, r.Protocol}
		if j, twice := first[k]; twice {
			v.wrong(at.at(i), "declares the same as "+at.at(j).String())
			continue
		}
		first[k] = i
	}
	for i, r := range rules {
		t := parsed[i]
		if t == (Target{}) || t.Loopback() {
			continue
		}
		for _, wider := range widerProtocols(r.Protocol) {
			if j, ok := first[key{t.String(), r.Port, wider}]; ok {
				v.wrong(at.at(i).field("protocol"), "can never take effect: "+at.at(j).String()+
					" lets "+string(wider)+" through to the same host and port")
				break
			}
		}
	}
}

// widerProtocols lists the protocols that let through whatever p does.
func widerProtocols(p Protocol) []Protocol {
	switch p {
	case HTTPS:
		return []Protocol{TLS, TCP}
	case TLS, HTTP:
		return []Protocol{TCP}
	}
	return nil
}

// targetRule returns the rule that the host of r breaks.
func targetRule(t Target, r EgressRule, realAnswers bool) string {
	cidr := strings.Contains(r.Host, "/")
	switch {
	case r.Protocol == DNS && (cidr || !t.Literal()):
		return "must be one IP address for protocol dns: a server is not looked up by name"
	case cidr && r.Protocol != TCP && r.Protocol != UDP:
		return "a CIDR prefix goes with tcp and udp only: " + string(r.Protocol) + " needs a name or one address"
	case !t.Literal():
		return ""
	}
	for _, never := range unreachable {
		if inside(t.Prefix, never.prefix) {
			return "can never take effect: a cell cannot connect to " + never.what
		}
	}
	if inside(t.Prefix, benchmark) && !realAnswers {
		return "lies in 198.18.0.0/15, where the addresses of names come from; " +
			"declare spec.authority.dnsAuthority.answers: real to use it"
	}
	return ""
}

// unreachable are the addresses that no connection has at its other end.
var unreachable = [...]specialRange{
	{prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8), what: `"this network" (0.0.0.0/8)`},
	{prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 3), what: "multicast and reserved addresses"},
	{prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 128), what: "the unspecified address"},
	{prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8), what: "multicast addresses"},
	{prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10), what: "link-local addresses without a zone"},
}

// portRule returns the field and the rule that the port of r breaks.
func portRule(t Target, r EgressRule, proxied bool) (field, broken string) {
	if t.Loopback() {
		return "", ""
	}
	switch {
	case r.Protocol == UDP && r.Port == 443 && !t.Literal():
		return "port", "udp to a name on 443 is QUIC, which hides its name; use https, or an address"
	case r.Port == 53 && proxied && (r.Protocol == TCP || r.Protocol == UDP):
		return "port", "can never take effect: the proxy answers all DNS of the cell; use protocol dns for a server of your own"
	case r.Port == 853 && proxied && r.Protocol != DNS:
		return "port", "can never take effect: encrypted DNS is refused while spec.authority.dnsAuthority.blockDirectWorkloadDns is true"
	}
	return "", ""
}

// dns checks dnsAuthority, and that its list covers the names of the rules.
func (v validator) dns(a *DNSAuthority, rules []EgressRule, authority *path) {
	if a == nil {
		return
	}
	at := authority.field("dnsAuthority")
	v.names(a.HostnameAllowlist, at.field("hostnameAllowlist"))
	if a.HostnameAllowlist != nil {
		v.covered(rules, a.HostnameAllowlist, authority.field("egressRules"), at.field("hostnameAllowlist"))
	}
	ids := make(map[string]bool, len(a.Resolvers))
	for i, r := range a.Resolvers {
		where := at.field("resolvers").at(i)
		if r.ResolverID != "" && ids[r.ResolverID] {
			v.wrong(where.field("resolverId"), "is the id of two resolvers")
		}
		ids[r.ResolverID] = true
		v.resolver(r, where)
	}
	if a.RebindingPolicy != nil {
		v.responseRanges(a.RebindingPolicy.ResponseIPAllowlist, at.field("rebindingPolicy").field("responseIpAllowlist"))
	}
}

// names reports entries of a list that are the same name in another spelling.
func (v validator) names(list []string, at *path) {
	first := make(map[HostPattern]int, len(list))
	for i, entry := range list {
		p, err := ParseHostPattern(entry)
		if err != nil {
			continue
		}
		// The same spelling was reported when the list was decoded.
		if j, twice := first[p]; !twice {
			first[p] = i
		} else if list[j] != entry {
			v.wrong(at.at(i), "is the same name as "+at.at(j).String())
		}
	}
}

// covered reports rules whose name the list does not let the cell resolve.
func (v validator) covered(rules []EgressRule, list []string, at, listAt *path) {
	set := make(coverage, len(list))
	for _, entry := range list {
		if p, err := ParseHostPattern(entry); err == nil {
			set[p] = true
		}
	}
	for i, r := range rules {
		t, err := ParseTarget(r.Host)
		if err != nil || t.Literal() || t.HostLoopback() || set.covers(t.Name) {
			continue
		}
		v.wrong(at.at(i).field("host"), "is not covered by "+listAt.String()+
			", so it would never be resolved; add it there")
	}
}

// coverage answers for a list of patterns in as many steps as a name has labels.
type coverage map[HostPattern]bool

// covers reports whether every name that p stands for is one of the list.
func (c coverage) covers(p HostPattern) bool {
	if c[p] {
		return true
	}
	for rest, ok := p.name, true; ok; {
		if _, rest, ok = strings.Cut(rest, "."); ok && c[HostPattern{name: rest, wildcard: true}] {
			return true
		}
	}
	return false
}

// resolver reports fields that another protocol has, and those that this one
// lacks.
func (v validator) resolver(r Resolver, at *path) {
	plain := r.Protocol == "do53-udp" || r.Protocol == "do53-tcp"
	switch {
	case r.Protocol == "doh" && r.URL == "":
		v.wrong(at.field("url"), "is required for protocol doh")
	case (plain || r.Protocol == "dot" || r.Protocol == "doq") && r.Endpoint == "":
		v.wrong(at.field("endpoint"), `is required for protocol `+r.Protocol+`, as "IP:port"`)
	}
	if r.URL != "" && (plain || r.Protocol == "dot" || r.Protocol == "doq") {
		v.wrong(at.field("url"), "belongs to protocol doh")
	}
	if r.ServerName != "" && plain {
		v.wrong(at.field("serverName"), "belongs to the encrypted protocols dot, doh and doq")
	}
	if d := r.DNSSEC; d != nil && !d.Validate {
		if d.FailClosed {
			v.wrong(at.field("dnssec").field("failClosed"), "can never take effect without validate: true")
		}
		if d.TrustAnchorsPath != "" {
			v.wrong(at.field("dnssec").field("trustAnchorsPath"), "can never take effect without validate: true")
		}
	}
}

// responseRanges reports entries that lie inside another.
func (v validator) responseRanges(list []string, at *path) {
	ranges := make(map[netip.Prefix]int, len(list))
	for i, entry := range list {
		if p, broken := parsePrefix(entry); broken == "" {
			if _, twice := ranges[p]; !twice {
				ranges[p] = i
			}
		}
	}
	for i, entry := range list {
		p, broken := parsePrefix(entry)
		if broken != "" {
			continue
		}
		for bits := p.Bits(); bits >= 0; bits-- {
			wider, err := p.Addr().Prefix(bits)
			j, ok := ranges[wider]
			if err == nil && ok && j != i && list[j] != entry {
				v.wrong(at.at(i), "can never take effect: "+at.at(j).String()+" covers it")
				break
			}
		}
	}
}

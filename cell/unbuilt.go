package cell

import (
	"slices"
	"strconv"
	"strings"
)

// Unbuilt is one feature that a document declares and this build does not
// enforce. A cell that declares one is refused: it is never ignored.
type Unbuilt struct {
	Path      string // where it is declared
	What      string // what is missing
	Remedy    string // what to do about it
	Line, Col int
}

// A feature is a row of the table of what is not built. It is declared where
// its path exists; "[]" stands for every item of a list.
type feature struct {
	path string
	what string
	// built lists the values of the field that are enforced.
	built []string
	// declared, if set, decides instead of built.
	declared func(*node) bool
	remedy   string // empty: remove the field
}

// unbuilt is the only place that says what this build does not enforce.
// Building a feature means deleting its row.
var unbuilt = [...]feature{
	{path: "spec.policy", what: "policy packs"},
	{path: "spec.identity", what: "workload identity tokens"},
	{path: "spec.ingress", what: "ingress"},

	{path: "spec.environment.image", what: "images"},
	{path: "spec.authority.authorityDerivation", what: "derivation tokens"},
	{path: "spec.authority.cdnAuthority", what: "CDN authority"},

	{path: "spec.authority.egressRules[]", what: "this kind of rule", declared: unbuiltRule,
		remedy: "use tcp to a name or an address, or dns"},
	{path: "spec.authority.dnsAuthority.blockDirectWorkloadDns", what: "a path to other name servers", built: []string{"true"}},
	{path: "spec.authority.dnsAuthority.refreshPolicy", what: "refreshing of answers"},
	{path: "spec.authority.dnsAuthority.rebindingPolicy.maxNovelIpsPerHostname", what: "the resolver watch"},
	{path: "spec.authority.dnsAuthority.rebindingPolicy.rejectOnRebind", what: "the resolver watch", built: []string{"false"}},
	{path: "spec.authority.dnsAuthority.resolvers[].protocol", what: "encrypted DNS upstreams",
		built: []string{"do53-udp", "do53-tcp"}, remedy: "use do53-udp or do53-tcp"},
	{path: "spec.authority.dnsAuthority.resolvers[].url", what: "encrypted DNS upstreams"},
	{path: "spec.authority.dnsAuthority.resolvers[].serverName", what: "encrypted DNS upstreams"},
	{path: "spec.authority.dnsAuthority.resolvers[].dnssec", what: "DNSSEC validation"},

	{path: "spec.run.secretDelivery", what: "this way of delivery", built: []string{string(DeliverEnv), string(DeliverFile)}, remedy: "use env or file"},
	{path: "spec.run.phases", what: "phases"},
	{path: "spec.export", what: "exports"},
	{path: "spec.telemetry.guestAgent", what: "the guest agent", built: []string{"false"}},
}

// unbuiltRule reports whether an egress rule is of a kind that no backend
// enforces yet. Rules about the cell's own loopback document it, whatever their
// protocol. What cannot be read is not built.
func unbuiltRule(rule *node) bool {
	host, protocol := rule.get("host"), rule.get("protocol")
	if host == nil || host.kind != kindText || protocol == nil {
		return true
	}
	t, err := ParseTarget(host.text)
	if err != nil {
		return true
	}
	if t.Loopback() {
		return false
	}
	switch Protocol(protocol.text) {
	case TCP, DNS:
		return t.HostLoopback()
	}
	return true
}

// Unbuilt returns every feature that d declares and this build does not
// enforce, in the order of the table.
func (d *Document) Unbuilt() []Unbuilt {
	var list []Unbuilt
	root := d.tree()
	for _, f := range unbuilt {
		root.each(f.path, "", func(n *node, where string) {
			missing := !slices.Contains(f.built, n.text)
			if f.declared != nil {
				missing = f.declared(n)
			}
			if !missing {
				return
			}
			u := Unbuilt{Path: where, What: f.what, Remedy: f.remedy}
			if u.Remedy == "" {
				u.Remedy = "remove " + where
			}
			if d.source.root != nil {
				u.Line, u.Col = int(n.at.line), int(n.at.col)
			}
			list = append(list, u)
		})
	}
	return list
}

// each calls f with every node at a path in which "[]" stands for all items.
func (n *node) each(rest, where string, f func(n *node, where string)) {
	if n == nil {
		return
	}
	if rest == "" {
		f(n, where)
		return
	}
	if after, ok := strings.CutPrefix(rest, "[]"); ok {
		for i, item := range n.items {
			item.each(after, where+"["+strconv.Itoa(i)+"]", f)
		}
		return
	}
	rest = strings.TrimPrefix(rest, ".")
	end := strings.IndexAny(rest, ".[")
	if end < 0 {
		end = len(rest)
	}
	name := rest[:end]
	n.get(name).each(rest[end:], strings.TrimPrefix(where+"."+name, "."), f)
}

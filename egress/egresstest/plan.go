package egresstest

import (
	"fmt"
	"strings"
	"testing"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

// Plan compiles the network of a document with this authority, in YAML flow
// style: "egressRules: [...], dnsAuthority: {...}".
func Plan(t testing.TB, authority string) *plan.Network {
	t.Helper()
	return PlanFor(t, authority, true)
}

// PlanFor is Plan for a host with or without IPv6.
func PlanFor(t testing.TB, authority string, ipv6 bool) *plan.Network {
	t.Helper()
	doc, err := cell.Parse("cell.yaml", fmt.Appendf(nil,
		"apiVersion: cellos.io/v1\nkind: ExecutionCell\nspec: {id: test, lifetime: {ttlSeconds: 60}, authority: {%s}}\n", authority))
	if err != nil {
		t.Fatal(err)
	}
	p, refusals := plan.Compile(doc, plan.Host{
		Profile: plan.Portable, Backend: "test", Isolation: plan.Report{},
		Namespaces: plan.Namespaces{Net: true}, DNSProxy: plan.On,
		Relay: true, IPv6: ipv6, Nameservers: Nameservers,
	})
	for _, r := range refusals {
		if !strings.HasPrefix(r.Path, "spec.authority.") {
			t.Fatal(r)
		}
	}
	return p.Network
}

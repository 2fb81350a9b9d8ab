package dnsproxy

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestForward(t *testing.T) {
	up := startUpstream(t, zone("api.example.com. 300 IN A 1.2.3.4"))
	pt := startProxy(t, Config{
		Names:     []string{"api.example.com"},
		Upstreams: []Upstream{up.as("resolver-test-001", Do53UDP)},
	})
	for _, network := range []string{"udp", "tcp"} {
		m := question("api.example.com.", dns.TypeA)
		resp := pt.ask(network, m)
		if got := text(resp.Answer); got != "api.example.com. 300 IN A 1.2.3.4\n" || resp.Rcode != 0 || resp.Id != m.Id {
			t.Errorf("%s: %s", network, resp)
		}
	}
	v := pt.last(2)
	if v.Name != "api.example.com" || v.Type != "A" || !v.Allow || v.Reason != ReasonAllowed ||
		v.Rcode != 0 || v.ResolverID != "resolver-test-001" || strings.Join(v.Answers, " ") != "1.2.3.4" || v.Transport != TCP {
		t.Errorf("verdict %+v", v)
	}
	if n := len(up.asked()); n != 1 {
		t.Errorf("%d questions upstream, want 1: the second query is answered from the cache", n)
	}
}

func TestDenied(t *testing.T) {
	up := startUpstream(t, zone("evil.example.com. 300 IN A 1.2.3.4"))
	for _, tc := range []struct {
		deny  DenyResponse
		name  string
		kind  uint16
		want  Reason
		rcode int
		text  string
	}{
		{DenyRefused, "evil.example.com.", dns.TypeA, ReasonNotInAllowlist, 5, `add "evil.example.com" to spec.authority.dnsAuthority.hostnameAllowlist`},
		{DenyNXDomain, "evil.example.com.", dns.TypeA, ReasonNotInAllowlist, 3, `add "evil.example.com" to spec.authority.dnsAuthority.hostnameAllowlist`},
		{DenyRefused, ".", dns.TypeNS, ReasonNotInAllowlist, 5, `add "." to spec.authority.dnsAuthority.hostnameAllowlist`},
		{DenyRefused, "api.example.com.", dns.TypeMX, ReasonQueryType, 5, `add "MX" to spec.authority.dnsAuthority.allowedQueryTypes`},
		{DenyNXDomain, "api.example.com.", dns.TypeMX, ReasonQueryType, 5, `add "MX" to spec.authority.dnsAuthority.allowedQueryTypes`},
		{DenyRefused, "apex.example.com.", dns.TypeA, ReasonNotInAllowlist, 5, ""},
		{DenyRefused, "api.example.com.", dns.TypeANY, ReasonQueryType, 5, ""},
	} {
		t.Run(string(tc.deny)+" "+tc.name+dns.TypeToString[tc.kind], func(t *testing.T) {
			pt := startProxy(t, Config{
				Names: []string{"api.example.com", "*.apex.example.com"}, Deny: tc.deny,
				Upstreams: []Upstream{up.as("r", Do53UDP)},
			})
			plain := pt.ask("udp", question(tc.name, tc.kind))
			if plain.Rcode != tc.rcode || len(plain.Answer)+len(plain.Ns)+len(plain.Extra) != 0 {
				t.Errorf("without EDNS: %s", plain)
			}
			m := question(tc.name, tc.kind)
			m.SetEdns0(1232, true)
			resp := pt.ask("udp", m)
			opt := resp.IsEdns0()
			if resp.Rcode != tc.rcode || opt == nil || len(opt.Option) != 1 {
				t.Fatalf("with EDNS: %s", resp)
			}
			ede := opt.Option[0].(*dns.EDNS0_EDE)
			if ede.InfoCode != dns.ExtendedErrorCodeProhibited || tc.text != "" && ede.ExtraText != tc.text {
				t.Errorf("extended error %v", ede)
			}
			v := pt.last(2)
			if v.Allow || v.Reason != tc.want || v.Rcode != tc.rcode || v.ResolverID != "" {
				t.Errorf("verdict %+v", v)
			}
		})
	}
	if asked := up.asked(); len(asked) != 0 {
		t.Errorf("denied queries went upstream: %v", asked)
	}
}

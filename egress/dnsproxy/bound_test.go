package dnsproxy

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// binder binds names to 198.18.0.16 and on, and permits what is not private.
type binder struct {
	mu    sync.Mutex
	names []string
	room  int
	no6   bool
}

func (b *binder) Bind(name string) (v4, v6 netip.Addr, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.names, name)
	if i < 0 {
		if len(b.names) >= b.room {
			return v4, v6, false
		}
		i = len(b.names)
		b.names = append(b.names, strings.Clone(name))
	}
	v4 = netip.AddrFrom4([4]byte{198, 18, 0, byte(16 + i)})
	if !b.no6 {
		v6 = netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(16 + i)})
	}
	return v4, v6, true
}

func (b *binder) Reverse(a netip.Addr) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := int(a.As16()[15]) - 16
	if i < 0 || i >= len(b.names) || a.Is4() && !strings.HasPrefix(a.String(), "198.18.0.") {
		return "", false
	}
	return b.names[i], true
}

func (b *binder) Permits(a netip.Addr) bool { return !a.IsPrivate() && !a.IsLoopback() }

// boundZone has names that exist in different ways.
func boundZone(_ string, q *dns.Msg) [][]byte {
	name, kind := strings.ToLower(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
	records := map[string]string{
		"both.wild.example. A":      "both.wild.example. 300 A 203.0.113.1\nboth.wild.example. 2 A 203.0.113.2",
		"both.wild.example. AAAA":   "both.wild.example. 300 AAAA 2001:db8::1",
		"only4.wild.example. A":     "only4.wild.example. 1 CNAME cdn.other.\ncdn.other. 60 A 203.0.113.1",
		"only6.wild.example. AAAA":  "only6.wild.example. 60 AAAA 2001:db8::1",
		"inside.wild.example. A":    "inside.wild.example. 60 A 10.0.0.1",
		"inside.wild.example. AAAA": "inside.wild.example. 60 AAAA ::1",
		"mixed.wild.example. A":     "mixed.wild.example. 60 A 10.0.0.1\nmixed.wild.example. 60 A 203.0.113.1",
		"no6.wild.example. A":       "no6.wild.example. 60 A 203.0.113.1",
		"half.wild.example. A":      "half.wild.example. 60 A 10.0.0.1",
		"half.wild.example. AAAA":   "half.wild.example. 60 AAAA 2001:db8::1",
		"text.wild.example. TXT":    `text.wild.example. 60 TXT "hello"`,
	}
	if name == "gone.wild.example." {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeNameError)
		return pack(m)
	}
	if name == "broken.wild.example." || name == "no6.wild.example." && kind == "AAAA" || name == "half-broken.wild.example." && kind == "AAAA" {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeServerFailure)
		return pack(m)
	}
	return pack(withRecords(q, records[name+" "+kind]))
}

func startBound(t *testing.T, b *binder, change func(*Config)) (*proxyTest, *fakeUpstream) {
	t.Helper()
	up := startUpstream(t, boundZone)
	cfg := quick(up.as("r", Do53UDP))
	cfg.Bound, cfg.Deny = b, DenyNXDomain
	cfg.Types = append(slices.Clone(DefaultTypes), "TXT", "SVCB")
	if change != nil {
		change(&cfg)
	}
	return startProxy(t, cfg), up
}

func TestBoundAnswers(t *testing.T) {
	for _, tc := range []struct {
		name    string
		kind    uint16
		want    string
		rcode   int
		reason  Reason
		answers string
	}{
		{"both.wild.example.", dns.TypeA, "both.wild.example. 5 IN A 198.18.0.16\n", 0, ReasonAllowed, "203.0.113.1 203.0.113.2"},
		{"Both.WILD.example.", dns.TypeAAAA, "Both.WILD.example. 300 IN AAAA fd00::10\n", 0, ReasonAllowed, "2001:db8::1"},
		{"only4.wild.example.", dns.TypeA, "only4.wild.example. 5 IN A 198.18.0.16\n", 0, ReasonAllowed, "cdn.other 203.0.113.1"},
		{"only4.wild.example.", dns.TypeAAAA, "only4.wild.example. 5 IN AAAA fd00::10\n", 0, ReasonAllowed, "cdn.other 203.0.113.1"},
		{"only6.wild.example.", dns.TypeA, "only6.wild.example. 5 IN A 198.18.0.16\n", 0, ReasonAllowed, "2001:db8::1"},
		{"none.wild.example.", dns.TypeA, "", 0, ReasonAllowed, ""},
		{"none.wild.example.", dns.TypeAAAA, "", 0, ReasonAllowed, ""},
		{"gone.wild.example.", dns.TypeA, "", dns.RcodeNameError, ReasonAllowed, ""},
		{"broken.wild.example.", dns.TypeA, "", dns.RcodeServerFailure, ReasonAllowed, ""},
		{"half-broken.wild.example.", dns.TypeA, "", 0, ReasonAllowed, ""},
		{"half-broken.wild.example.", dns.TypeAAAA, "", dns.RcodeServerFailure, ReasonAllowed, ""},
		{"no6.wild.example.", dns.TypeAAAA, "no6.wild.example. 5 IN AAAA fd00::10\n", 0, ReasonAllowed, "203.0.113.1"},
		{"inside.wild.example.", dns.TypeA, "", dns.RcodeNameError, ReasonRebinding, "10.0.0.1"},
		{"inside.wild.example.", dns.TypeAAAA, "", dns.RcodeNameError, ReasonRebinding, "::1"},
		{"mixed.wild.example.", dns.TypeA, "mixed.wild.example. 60 IN A 198.18.0.16\n", 0, ReasonAllowed, "10.0.0.1 203.0.113.1"},
		{"half.wild.example.", dns.TypeA, "half.wild.example. 5 IN A 198.18.0.16\n", 0, ReasonAllowed, "10.0.0.1"},
		{"both.wild.example.", dns.TypeHTTPS, "", 0, ReasonAllowed, ""},
		{"both.wild.example.", dns.TypeSVCB, "", 0, ReasonAllowed, ""},
		{"both.wild.example.", dns.TypeCNAME, "", 0, ReasonAllowed, ""},
		{"text.wild.example.", dns.TypeTXT, "text.wild.example. 60 IN TXT \"hello\"\n", 0, ReasonAllowed, `\# 6 0568656c6c6f`},
		{"10.113.0.203.in-addr.arpa.", dns.TypePTR, "", dns.RcodeNameError, ReasonAllowed, ""},
		{"evil.example.", dns.TypeA, "", dns.RcodeNameError, ReasonNotInAllowlist, ""},
	} {
		t.Run(strings.TrimSuffix(tc.name, ".")+"/"+dns.TypeToString[tc.kind], func(t *testing.T) {
			pt, _ := startBound(t, &binder{room: 9}, nil)
			for i := range 2 { // the second from the cache
				resp := pt.ask("udp", question(tc.name, tc.kind))
				got := text(resp.Answer)
				// A TTL that is the lower of two families is not worth a table.
				if strings.Replace(got, " 60 IN ", " 5 IN ", 1) != strings.Replace(tc.want, " 60 IN ", " 5 IN ", 1) || resp.Rcode != tc.rcode || len(resp.Ns) != 0 {
					t.Errorf("answer %d: %s", i, resp)
				}
				v := pt.last(i + 1)
				if v.Reason != tc.reason || strings.Join(v.Answers, " ") != tc.answers || (v.Bound == "") != (!strings.Contains(tc.want, " A ") && !strings.Contains(tc.want, " AAAA ")) {
					t.Errorf("verdict %d: %+v", i, v)
				}
			}
		})
	}
}

// Both families at once, each of which needs the other's answer.
func TestBoundFamiliesWaitForEachOther(t *testing.T) {
	pt, _ := startBound(t, &binder{room: 9}, func(c *Config) { c.CacheEntries = -1 })
	var wg sync.WaitGroup
	for range 20 {
		for _, name := range []string{"none.wild.example.", "inside.wild.example.", "only6.wild.example."} {
			for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
				wg.Go(func() {
					if resp := pt.ask("udp", question(name, kind)); resp.Rcode == dns.RcodeServerFailure {
						t.Errorf("%s: %s", name, resp)
					}
				})
			}
		}
	}
	wg.Wait()
}

func TestBoundWithoutIPv6(t *testing.T) {
	pt, _ := startBound(t, &binder{room: 9, no6: true}, nil)
	if resp := pt.ask("udp", question("only6.wild.example.", dns.TypeAAAA)); resp.Rcode != 0 || len(resp.Answer) != 0 {
		t.Error(resp)
	}
	if resp := pt.ask("udp", question("only6.wild.example.", dns.TypeA)); len(resp.Answer) != 1 {
		t.Error(resp)
	}
}

func TestBoundExhausted(t *testing.T) {
	pt, _ := startBound(t, &binder{room: 1}, nil)
	pt.ask("udp", question("both.wild.example.", dns.TypeA))
	resp := pt.ask("udp", question("only4.wild.example.", dns.TypeA))
	if v := pt.last(2); resp.Rcode != dns.RcodeServerFailure || v.Reason != ReasonRateLimited || v.Allow {
		t.Errorf("%s, verdict %+v", resp, v)
	}
}

func TestBoundReverse(t *testing.T) {
	pt, _ := startBound(t, &binder{room: 9}, nil)
	pt.ask("udp", question("both.wild.example.", dns.TypeA))
	for _, addr := range []string{"198.18.0.16", "fd00::10"} {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		resp := pt.ask("udp", question(name, dns.TypePTR))
		if got := text(resp.Answer); !strings.HasSuffix(got, " IN PTR both.wild.example.\n") {
			t.Errorf("%s: %s", addr, resp)
		}
	}
	for _, name := range []string{"198.18.0.17.in-addr.arpa.", "in-addr.arpa.", "x.ip6.arpa.", "1.2.3.in-addr.arpa.", "300.0.0.1.in-addr.arpa."} {
		if resp := pt.ask("udp", question(name, dns.TypePTR)); resp.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %s", name, resp)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, bound := range []bool{true, false} {
		pt, up := startBound(t, &binder{room: 9}, func(c *Config) {
			if !bound {
				c.Bound = nil
			}
		})
		for _, tc := range []struct {
			name string
			want string
			err  error
		}{
			{"both.wild.example", "2001:db8::1 203.0.113.1 203.0.113.2", nil},
			{"only4.wild.example", "203.0.113.1", nil},
			{"inside.wild.example", "10.0.0.1 ::1", nil},
			{"none.wild.example", "", nil},
			{"gone.wild.example", "", ErrNoSuchName},
			{"evil.example", "", ErrNotAllowed},
			{"", "", ErrNotAllowed},
		} {
			for range 2 {
				addrs, err := pt.proxy.Resolve(t.Context(), tc.name)
				var got []string
				for _, a := range addrs {
					got = append(got, a.String())
				}
				slices.Sort(got)
				if strings.Join(got, " ") != tc.want || !errors.Is(err, tc.err) {
					t.Errorf("%s: %v, %v", tc.name, got, err)
				}
			}
		}
		for _, q := range up.asked() {
			if strings.EqualFold(q.Question[0].Name, "evil.example.") {
				t.Error("a name that is not allowed was asked upstream")
			}
		}
		if n := len(pt.verdicts()); n != 0 {
			t.Errorf("%d verdicts about what no client has asked", n)
		}
	}
}

func TestResolveEnds(t *testing.T) {
	up := startUpstream(t, func(string, *dns.Msg) [][]byte { return nil })
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := pt.proxy.Resolve(ctx, "www.example"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := pt.proxy.Resolve(context.Background(), "other.wild.example")
		done <- err
	}()
	pt.proxy.Close()
	if err := <-done; err == nil {
		t.Error("a proxy that is closed resolves")
	}
	if _, err := pt.proxy.Resolve(t.Context(), "www.example"); err == nil {
		t.Error("a proxy that is closed resolves")
	}
}

func TestParseReverse(t *testing.T) {
	for _, s := range []string{"203.0.113.7", "2001:db8::1234:7", "::1", "255.255.255.255"} {
		name, err := dns.ReverseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := parseReverse(strings.TrimSuffix(name, ".")); !ok || a != netip.MustParseAddr(s) {
			t.Errorf("%s: %v, %v", name, a, ok)
		}
	}
	if _, ok := parseReverse("www.example"); ok {
		t.Error("a name was taken for an address")
	}
}

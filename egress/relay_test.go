package egress_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/egress"
	"cellos.io/cellos/plan"
)

const authority = `egressRules: [
	{host: api.example.com, port: 443, protocol: tcp}, {host: "*.example.org", port: 443, protocol: tcp},
	{host: inside.example.com, port: 443, protocol: tcp}, {host: private.example.com, port: 443, protocol: tcp},
	{host: self.example.com, port: 443, protocol: tcp}, {host: mixed.example.com, port: 443, protocol: tcp},
	{host: dead.example.com, port: 443, protocol: tcp}, {host: gone.example.com, port: 443, protocol: tcp},
	{host: 203.0.113.0/24, port: 8443, protocol: tcp}, {host: "2001:db8::10", port: 8443, protocol: tcp},
	{host: 203.0.113.1, port: 9443, protocol: tcp}],
	dnsAuthority: {rebindingPolicy: {responseIpAllowlist: [10.9.0.10]}}`

var names = zone{
	"api.example.com":     {"203.0.113.10"},
	"a.example.org":       {"203.0.113.11"},
	"inside.example.com":  {"127.0.0.1", "169.254.169.254", "10.8.0.1", "::1", "::ffff:127.0.0.1"},
	"private.example.com": {"10.9.0.10"},
	"self.example.com":    {"203.0.113.1", "2001:db8::1"},
	"mixed.example.com":   {"127.0.0.1", "203.0.113.10", "2001:db8::99"},
	"dead.example.com":    {"203.0.113.11"},
}

func TestRelay(t *testing.T) {
	s := newStage(t, authority, names)
	s.serve("203.0.113.10:443", echo("api "))
	s.serve("203.0.113.11:443", echo("a "))
	s.serve("10.9.0.10:443", echo("private "))
	s.serve("203.0.113.10:8443", echo("literal "))
	s.serve("[2001:db8::10]:8443", echo("literal6 "))
	for i, c := range []struct {
		dst  netip.AddrPort
		word string
		name string
		rule int
	}{
		{s.bound("api.example.com", 443, false), "api ", "api.example.com", 0},
		{s.bound("api.example.com", 443, true), "api ", "api.example.com", 0},
		{s.bound("a.example.org", 443, false), "a ", "a.example.org", 1},
		{s.bound("a.example.org", 443, true), "a ", "a.example.org", 1},
		{s.bound("private.example.com", 443, false), "private ", "private.example.com", 3},
		{s.bound("mixed.example.com", 443, false), "api ", "mixed.example.com", 5},
		{netip.MustParseAddrPort("203.0.113.10:8443"), "literal ", "", 8},
		{netip.MustParseAddrPort("[2001:db8::10]:8443"), "literal6 ", "", 9},
	} {
		conn := s.dial(c.dst)
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatalf("%v: %v", c.dst, err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != c.word+"hello" {
			t.Errorf("%v: %q, %v", c.dst, got, err)
		}
		f := s.flow(i)
		if f.Destination != c.dst || f.Name != c.name || f.Rule != c.rule || !f.Allow || f.Reason != plan.RuleMatch || f.Err != nil ||
			f.Sent != 5 || f.Received != int64(len(c.word)+5) || !f.Upstream.IsValid() || f.Duration <= 0 {
			t.Errorf("%v: flow %+v", c.dst, f)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.decided) != len(s.ended) || len(s.refused) != 0 {
		t.Errorf("%d decided, %d ended, %d refused", len(s.decided), len(s.ended), len(s.refused))
	}
}

// What cannot be reached is an RST with the errno on record, never an end.
func TestRelayResets(t *testing.T) {
	s := newStage(t, authority, names)
	unbound := netip.AddrPortFrom(s.bound("a.example.org", 443, false).Addr().Next(), 443)
	l, err := net.Listen("tcp", "203.0.113.1:8443")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, c := range []struct {
		name   string
		dst    netip.AddrPort
		allow  bool
		reason plan.Reason
		errno  error
	}{
		{"special ranges", s.bound("inside.example.com", 443, false), false, egress.ReasonRebinding, nil},
		{"the host, by name", s.bound("self.example.com", 443, false), false, egress.ReasonRebinding, nil},
		{"the host, by prefix", netip.MustParseAddrPort("203.0.113.1:8443"), false, egress.ReasonRebinding, nil},
		{"nobody listens", s.bound("dead.example.com", 443, false), true, plan.RuleMatch, syscall.ECONNREFUSED},
		{"no such name", s.bound("gone.example.com", 443, false), true, plan.RuleMatch, nil},
		{"no name took it", unbound, false, plan.IPNotBound, nil},
	} {
		if err := s.outcome(c.dst); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", c.name, err)
		}
		f := s.flow(i)
		if f.Allow != c.allow || f.Reason != c.reason || c.errno != nil && !errors.Is(f.Err, c.errno) || f.Err == nil && c.reason != plan.IPNotBound {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// A decision that cannot be recorded does not take effect.
func TestRelayFailsClosed(t *testing.T) {
	s := newStage(t, authority, names)
	s.serve("203.0.113.10:443", func(*net.TCPConn) { t.Error("it was dialled all the same") })
	s.deny = errors.New("the journal is full")
	if err := s.outcome(s.bound("api.example.com", 443, false)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	if f := s.flow(0); f.Err == nil || !strings.Contains(f.Err.Error(), "journal is full") || f.Upstream.IsValid() {
		t.Errorf("flow %+v", f)
	}
}

package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const wwwA = "www.example. 300 IN A 192.0.2.1"

// quick makes silence cost a test little time.
func quick(ups ...Upstream) Config {
	return Config{Names: []string{"www.example", "*.wild.example"}, Upstreams: ups, TryTimeout: 50 * time.Millisecond, Tries: 2}
}

// change is the wire form of a reply with something done to it.
func change(m *dns.Msg, f func(*dns.Msg)) []byte {
	c := m.Copy()
	f(c)
	return pack(c)[0]
}

// good is the right reply, bad one that would lead elsewhere.
func good(q *dns.Msg) *dns.Msg { return withRecords(q, wwwA) }
func bad(q *dns.Msg) *dns.Msg  { return withRecords(q, "www.example. 300 IN A 203.0.113.66") }

// What a hostile or broken upstream sends over UDP, and what the client gets.
// A wrong reply is not an error: the right one may follow.
var upstreamReplies = []struct {
	name   string
	reply  func(network string, q *dns.Msg) [][]byte
	reason Reason
	answer string
	rcode  int
}{
	{"good", func(_ string, q *dns.Msg) [][]byte { return pack(good(q)) }, ReasonAllowed, "192.0.2.1", 0},
	{"wrong id first", func(_ string, q *dns.Msg) [][]byte {
		return append([][]byte{change(bad(q), func(m *dns.Msg) { m.Id++ })}, pack(good(q))...)
	}, ReasonAllowed, "192.0.2.1", 0},
	{"wrong id only", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Id++ })}
	}, ReasonUpstreamTimeout, "", 2},
	{"other question first", func(_ string, q *dns.Msg) [][]byte {
		return append([][]byte{change(bad(q), func(m *dns.Msg) { m.Question[0].Name = "wwx.example." })}, pack(good(q))...)
	}, ReasonAllowed, "192.0.2.1", 0},
	{"other type only", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })}
	}, ReasonUpstreamTimeout, "", 2},
	{"other class only", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })}
	}, ReasonUpstreamTimeout, "", 2},
	{"no question", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Question = nil })}
	}, ReasonUpstreamTimeout, "", 2},
	{"two questions", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })}
	}, ReasonUpstreamTimeout, "", 2},
	{"not a response", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Response = false })}
	}, ReasonUpstreamTimeout, "", 2},
	{"wrong case over UDP, right answer over TCP", func(network string, q *dns.Msg) [][]byte {
		if network == "tcp" {
			return pack(good(q))
		}
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Question[0].Name = flipCase(m.Question[0].Name) })}
	}, ReasonAllowed, "192.0.2.1", 0},
	{"garbage first", func(_ string, q *dns.Msg) [][]byte {
		return append([][]byte{nil, {1}, make([]byte, 12), make([]byte, 1232)}, pack(good(q))...)
	}, ReasonAllowed, "192.0.2.1", 0},
	{"truncated, whole over TCP", func(network string, q *dns.Msg) [][]byte {
		if network == "tcp" {
			return pack(good(q))
		}
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Truncated = true })}
	}, ReasonAllowed, "192.0.2.1", 0},
	{"larger than asked for, whole over TCP", func(network string, q *dns.Msg) [][]byte {
		if network == "tcp" {
			return pack(good(q))
		}
		m := bad(q)
		for range 100 {
			m.Answer = append(m.Answer, m.Answer[0])
		}
		return pack(m)
	}, ReasonAllowed, "192.0.2.1", 0},
	{"malformed behind the question", func(_ string, q *dns.Msg) [][]byte {
		b := pack(good(q))[0]
		return [][]byte{b[:len(b)-1]}
	}, ReasonUpstreamFailure, "", 2},
	{"SERVFAIL", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })}
	}, ReasonAllowed, "", 2},
	{"REFUSED", func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(bad(q), func(m *dns.Msg) { m.Rcode = dns.RcodeRefused })}
	}, ReasonAllowed, "", 5},
	{"FORMERR because of EDNS", func(_ string, q *dns.Msg) [][]byte {
		if q.IsEdns0() != nil {
			return [][]byte{change(bad(q), func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeFormatError, nil })}
		}
		return pack(good(q))
	}, ReasonAllowed, "192.0.2.1", 0},
	{"silence", func(string, *dns.Msg) [][]byte { return nil }, ReasonUpstreamTimeout, "", 2},
	{"silence once", func() func(string, *dns.Msg) [][]byte {
		var answering atomic.Bool
		return func(_ string, q *dns.Msg) [][]byte {
			if !answering.Swap(true) {
				return nil
			}
			return pack(good(q))
		}
	}(), ReasonAllowed, "192.0.2.1", 0},
}

func TestUpstreamReplies(t *testing.T) {
	for _, tc := range upstreamReplies {
		t.Run(tc.name, func(t *testing.T) {
			up := startUpstream(t, tc.reply)
			cfg := quick(up.as("r", Do53UDP))
			if tc.reason == ReasonAllowed {
				cfg.TryTimeout = patience // so that a slow machine does not make it a time-out
				if strings.HasPrefix(tc.name, "silence") {
					cfg.TryTimeout, cfg.Tries = 200*time.Millisecond, 20
				}
			}
			pt := startProxy(t, cfg)
			resp := pt.ask("udp", question("www.example.", dns.TypeA))
			v := pt.last(1)
			if v.Reason != tc.reason || v.Allow != (tc.reason == ReasonAllowed) || v.Rcode != tc.rcode || strings.Join(v.Answers, " ") != tc.answer {
				t.Errorf("verdict %+v", v)
			}
			if resp.Rcode != tc.rcode || tc.answer == "" && len(resp.Answer) > 0 || tc.answer != "" && text(resp.Answer) != wwwA+"\n" {
				t.Errorf("response %s", resp)
			}
		})
	}
}

func flipCase(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c|0x20 && c|0x20 <= 'z' {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// What goes upstream is built: nothing of the client's query but name and type.
func TestQueryIsBuilt(t *testing.T) {
	up := startUpstream(t, zone("WWW.EXAMPLE. 0 IN A 192.0.2.1"))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	ids, names := map[uint16]bool{}, map[string]bool{}
	const n = 20
	for i := range n {
		m := question("www.EXAMPLE.", dns.TypeA)
		m.Id = 7
		m.AuthenticatedData, m.CheckingDisabled, m.RecursionDesired = true, true, false
		m.SetEdns0(4000, true)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("smuggled")}, &dns.EDNS0_COOKIE{Code: 10, Cookie: "0123456789abcdef"}}
		resp := pt.ask("udp", m)
		if resp.Question[0].Name != "www.EXAMPLE." || resp.Id != 7 || resp.RecursionDesired || resp.AuthenticatedData {
			t.Fatalf("response %s", resp)
		}
		if got := len(resp.Answer); got != 1 || resp.Answer[0].Header().Name != "www.EXAMPLE." {
			t.Fatalf("answer %d: %s: the client's letter case is not restored", i, text(resp.Answer))
		}
	}
	for _, q := range up.asked() {
		ids[q.Id], names[q.Question[0].Name] = true, true
		opt := q.IsEdns0()
		if opt == nil || opt.UDPSize() != maxUDP || opt.Do() || len(opt.Option) != 0 || !q.RecursionDesired || q.CheckingDisabled || q.AuthenticatedData {
			t.Fatalf("query upstream: %s", &q)
		}
		if !strings.EqualFold(q.Question[0].Name, "www.example.") {
			t.Fatalf("question upstream: %s", q.Question[0].Name)
		}
	}
	// Ten letters and sixteen bits: a repetition is possible, many are not.
	if len(ids) < n-2 || len(names) < n-5 {
		t.Errorf("%d ids and %d spellings in %d queries", len(ids), len(names), n)
	}
}

func TestSecondUpstream(t *testing.T) {
	good := startUpstream(t, zone(wwwA))
	failing := startUpstream(t, func(_ string, q *dns.Msg) [][]byte {
		return [][]byte{change(withRecords(q, ""), func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })}
	})
	silent := startUpstream(t, func(string, *dns.Msg) [][]byte { return nil })
	for name, first := range map[string]Upstream{
		"SERVFAIL":      failing.as("first", Do53UDP),
		"silent":        silent.as("first", Do53UDP),
		"silent TCP":    silent.as("first", Do53TCP),
		"nobody there":  {ID: "first", Protocol: Do53UDP, Dial: dialer(closedPort(t))},
		"nobody on TCP": {ID: "first", Protocol: Do53TCP, Dial: dialer(closedPort(t))},
		"no socket": {ID: "first", Protocol: Do53UDP, Dial: func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("no route")
		}},
		"wrong socket": {ID: "first", Protocol: Do53UDP, Dial: func(context.Context, string) (net.Conn, error) {
			c, _ := net.Pipe()
			return c, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quick(first, good.as("second", Do53UDP))
			cfg.Tries = 20
			pt := startProxy(t, cfg)
			resp := pt.ask("udp", question("www.example.", dns.TypeA))
			if v := pt.last(1); v.ResolverID != "second" || text(resp.Answer) != wwwA+"\n" {
				t.Errorf("verdict %+v, response %s", v, resp)
			}
		})
	}
}

// closedPort is an address on which nobody listens: the kernel answers with an
// ICMP error.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestUpstreamFailure(t *testing.T) {
	for _, proto := range []Protocol{Do53UDP, Do53TCP} {
		pt := startProxy(t, quick(Upstream{ID: "r", Protocol: proto, Dial: dialer(closedPort(t))}))
		m := question("www.example.", dns.TypeA)
		m.SetEdns0(1232, false)
		resp := pt.ask("udp", m)
		v := pt.last(1)
		if resp.Rcode != 2 || v.Reason != ReasonUpstreamFailure || v.Allow || v.Rcode != 2 {
			t.Errorf("%s: verdict %+v, response %s", proto, v, resp)
		}
		if opt := resp.IsEdns0(); opt == nil || len(opt.Option) != 1 {
			t.Errorf("%s: no extended error in %s", proto, resp)
		}
	}
}

func TestUpstreamTCP(t *testing.T) {
	up := startUpstream(t, zone("www.example. 0 IN A 192.0.2.1"))
	pt := startProxy(t, quick(up.as("r", Do53TCP)))
	for range 3 {
		if resp := pt.ask("udp", question("www.example.", dns.TypeA)); len(resp.Answer) != 1 {
			t.Fatalf("response %s", resp)
		}
	}
	for _, network := range up.networks() {
		if network != "tcp" {
			t.Errorf("asked over %s", network)
		}
	}
}

// Many clients that ask the same at once are one question upstream.
func TestCoalesced(t *testing.T) {
	release := make(chan struct{})
	up := startUpstream(t, func(_ string, q *dns.Msg) [][]byte {
		<-release
		return pack(withRecords(q, "www.example. 0 IN A 192.0.2.1"))
	})
	cfg := quick(up.as("r", Do53UDP))
	cfg.TryTimeout = patience
	pt := startProxy(t, cfg)
	const n = maxCoalesced + 6
	results := make(chan *dns.Msg, n)
	for i := range n {
		// Spelled differently, so that each must get its own spelling back.
		name := "www.example."
		if i%2 == 1 {
			name = "WWW.example."
		}
		go func() {
			c := dns.Client{Timeout: patience}
			resp, _, err := c.Exchange(question(name, dns.TypeA), pt.udp)
			if err != nil {
				resp = nil
			} else if resp.Question[0].Name != name {
				resp = nil
			}
			results <- resp
		}()
	}
	// What is over the bound is answered while the rest waits.
	for range n - maxCoalesced {
		if resp := <-results; resp == nil || resp.Rcode != 2 {
			t.Fatalf("response %v, want SERVFAIL", resp)
		}
	}
	close(release)
	for range maxCoalesced {
		if resp := <-results; resp == nil || len(resp.Answer) != 1 {
			t.Fatalf("response %v", resp)
		}
	}
	if got := len(up.asked()); got != 1 {
		t.Errorf("%d questions upstream, want 1", got)
	}
	count := map[Reason]int{}
	for _, v := range pt.verdicts() {
		count[v.Reason]++
	}
	if count[ReasonAllowed] != maxCoalesced || count[ReasonRateLimited] != n-maxCoalesced {
		t.Errorf("verdicts %v", count)
	}
}

func TestRateLimited(t *testing.T) {
	up := startUpstream(t, func(string, *dns.Msg) [][]byte { return nil })
	cfg := quick(up.as("r", Do53UDP))
	cfg.MaxInFlight = 3
	pt := startProxy(t, cfg)
	const n = 8
	codes := make(chan int, n)
	for i := range n {
		go func() {
			c := dns.Client{Timeout: patience}
			resp, _, err := c.Exchange(question(fmt.Sprintf("n%d.wild.example.", i), dns.TypeA), pt.udp)
			if err != nil {
				codes <- -1
				return
			}
			codes <- resp.Rcode
		}()
	}
	for range n {
		if c := <-codes; c != 2 {
			t.Errorf("rcode %d, want SERVFAIL", c)
		}
	}
	limited := 0
	for _, v := range pt.verdicts() {
		if v.Reason == ReasonRateLimited {
			limited++
		}
	}
	if limited == 0 || len(pt.verdicts()) != n {
		t.Errorf("%d of %d verdicts are rate_limited", limited, len(pt.verdicts()))
	}
	// The places are free again, whatever way the flights ended.
	pt.proxy.Close()
	if got := pt.proxy.fwd.waiting; got != 0 {
		t.Errorf("%d clients still wait", got)
	}
}

// Source ports are several at a time, and none is used for long.
func TestSourcePorts(t *testing.T) {
	up := startUpstream(t, zone("www.example. 0 IN A 192.0.2.1"))
	cfg := quick(up.as("r", Do53UDP))
	cfg.TryTimeout = patience
	pt := startProxy(t, cfg)
	conn, err := dns.Dial("udp", pt.udp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(6 * patience))
	const n = 3 * socketQueries
	m := question("www.example.", dns.TypeA)
	for range n {
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ReadMsg(); err != nil {
			t.Fatal(err)
		}
	}
	uses := map[string]int{}
	for _, addr := range up.sources() {
		uses[addr]++
	}
	for addr, k := range uses {
		if k > socketQueries+batchLen {
			t.Errorf("%s was used for %d queries", addr, k)
		}
	}
	if len(uses) <= socketsPerUpstream/2 || len(up.sources()) != n {
		t.Errorf("%d source ports for %d queries", len(uses), len(up.sources()))
	}
}

// An upstream that was not there, and then is, is asked by the next query.
func TestUpstreamAppears(t *testing.T) {
	addr := closedPort(t)
	pt := startProxy(t, quick(Upstream{ID: "r", Protocol: Do53UDP, Dial: dialer(addr)}))
	if resp := pt.ask("udp", question("www.example.", dns.TypeA)); resp.Rcode != dns.RcodeServerFailure {
		t.Fatalf("response %s", resp)
	}
	startUpstreamAt(t, addr, zone(wwwA))
	for range socketsPerUpstream {
		if resp := pt.ask("udp", question("www.example.", dns.TypeA)); text(resp.Answer) != wwwA+"\n" {
			t.Errorf("response %s", resp)
		}
	}
}

// A whole 64 KiB of records over TCP reaches a TCP client, and one over UDP as
// a truncated response.
func TestGiantAnswer(t *testing.T) {
	up := startUpstream(t, func(network string, q *dns.Msg) [][]byte {
		m := withRecords(q, "")
		if network == "udp" {
			m.Truncated = true
			return pack(m)
		}
		for i := range 250 {
			rr, _ := dns.NewRR(fmt.Sprintf("www.example. 300 IN TXT %q", strings.Repeat("x", 240)+fmt.Sprint(i)))
			m.Answer = append(m.Answer, rr)
		}
		return pack(m)
	})
	cfg := quick(up.as("r", Do53UDP))
	cfg.TryTimeout, cfg.Types = patience, []string{"TXT"}
	pt := startProxy(t, cfg)
	if resp := pt.ask("udp", question("www.example.", dns.TypeTXT)); !resp.Truncated || len(resp.Answer) != 0 {
		t.Errorf("over UDP: %d records, truncated %v", len(resp.Answer), resp.Truncated)
	}
	if resp := pt.ask("tcp", question("www.example.", dns.TypeTXT)); resp.Truncated || len(resp.Answer) != 250 {
		t.Errorf("over TCP: %d records, truncated %v", len(resp.Answer), resp.Truncated)
	}
	for _, v := range pt.verdicts() {
		size := 0
		for _, a := range v.Answers {
			size += len(a)
		}
		if len(v.Answers) != maxAnswers || size > maxAnswers*maxAnswerText {
			t.Errorf("a verdict with %d answers of %d bytes", len(v.Answers), size)
		}
	}
}

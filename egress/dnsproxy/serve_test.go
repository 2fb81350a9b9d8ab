package dnsproxy

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A verdict that cannot be recorded closes: SERVFAIL, and nothing of the answer.
func TestRecordFails(t *testing.T) {
	up := startUpstream(t, zone(wwwA))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	pt.ask("udp", question("www.example.", dns.TypeA))
	pt.mu.Lock()
	pt.refuses = errors.New("journal is full")
	pt.mu.Unlock()
	for _, name := range []string{"www.example.", "evil.example.", "new.wild.example.", "localhost."} {
		for _, network := range []string{"udp", "tcp"} {
			m := question(name, dns.TypeA)
			m.SetEdns0(1232, false)
			resp := pt.ask(network, m)
			if resp.Rcode != dns.RcodeServerFailure || len(resp.Answer) != 0 {
				t.Errorf("%s over %s: %s", name, network, resp)
			}
			if strings.Contains(resp.String(), "journal") {
				t.Errorf("%s: the answer tells the cell why: %s", name, resp)
			}
		}
	}
}

func TestLocalNames(t *testing.T) {
	up := startUpstream(t, zone(""))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	for i, tc := range []struct {
		name string
		kind uint16
		want string
	}{
		{"localhost.", dns.TypeA, "localhost. 3600 IN A 127.0.0.1\n"},
		{"a.LOCALHOST.", dns.TypeAAAA, "a.LOCALHOST. 3600 IN AAAA ::1\n"},
		{"localhost.", dns.TypeHTTPS, ""},
		{"1.0.0.127.in-addr.arpa.", dns.TypePTR, "1.0.0.127.in-addr.arpa. 3600 IN PTR localhost.\n"},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", dns.TypePTR,
			"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. 3600 IN PTR localhost.\n"},
	} {
		resp := pt.ask("udp", question(tc.name, tc.kind))
		if got := text(resp.Answer); got != tc.want || resp.Rcode != 0 {
			t.Errorf("%s: %s", tc.name, resp)
		}
		if v := pt.last(i + 1); v.ResolverID != LocalResolver || !v.Allow {
			t.Errorf("%s: verdict %+v", tc.name, v)
		}
	}
	for _, name := range []string{"xlocalhost.", "localhost.example.", "2.0.0.127.in-addr.arpa."} {
		if resp := pt.ask("udp", question(name, dns.TypeA)); resp.Rcode != dns.RcodeRefused {
			t.Errorf("%s: %s", name, resp)
		}
	}
	if len(up.asked()) != 0 {
		t.Errorf("asked upstream: %v", up.asked())
	}
}

// An answer larger than the client's datagram has TC set, and is whole over TCP.
func TestTruncation(t *testing.T) {
	var records strings.Builder
	for range 40 {
		records.WriteString("www.example. 300 IN A 192.0.2.1\n")
	}
	up := startUpstream(t, zone(records.String()))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	for _, tc := range []struct {
		network string
		size    uint16
		whole   bool
	}{{"udp", 0, false}, {"udp", 100, false}, {"udp", 512, false}, {"udp", 1232, true}, {"udp", 65535, true}, {"tcp", 0, true}} {
		m := question("www.example.", dns.TypeA)
		if tc.size > 0 {
			m.SetEdns0(tc.size, false)
		}
		resp := pt.ask(tc.network, m)
		if resp.Truncated == tc.whole || len(resp.Answer) != map[bool]int{true: 40}[tc.whole] {
			t.Errorf("%s %d: truncated %v, %d records", tc.network, tc.size, resp.Truncated, len(resp.Answer))
		}
	}
}

// Many queries on one connection at once are all answered, in whatever order.
func TestTCPPipelined(t *testing.T) {
	up := startUpstream(t, zone(wwwA))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	conn, err := net.Dial("tcp", pt.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	const n = 100
	var out []byte
	for i := range n {
		m := question([]string{"www.example.", "evil.example."}[i%2], dns.TypeA)
		m.Id = uint16(i)
		b := pack(m)[0]
		out = append(be.AppendUint16(out, uint16(len(b))), b...)
	}
	go func() {
		conn.Write(out)
		conn.(*net.TCPConn).CloseWrite() // and still every answer comes
	}()
	c := dns.Conn{Conn: conn}
	seen := map[uint16]bool{}
	for range n {
		m, err := c.ReadMsg()
		if err != nil {
			t.Fatalf("after %d answers: %v", len(seen), err)
		}
		if want := []int{0, 5}[m.Id%2]; m.Rcode != want || seen[m.Id] {
			t.Fatalf("response %s", m)
		}
		seen[m.Id] = true
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("then %v, want EOF", err)
	}
}

func TestTCPLimits(t *testing.T) {
	up := startUpstream(t, zone(wwwA))
	cfg := quick(up.as("r", Do53UDP))
	cfg.TCPConns, cfg.TCPIdle = 2, 200*time.Millisecond
	pt := startProxy(t, cfg)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", pt.tcp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	// Two that send nothing, or not all, and a third that finds no room. All
	// are closed, the first two after their idle time.
	a, b := dial(), dial()
	b.Write([]byte{0, 40, 1, 2, 3})
	c := dial()
	for _, conn := range []net.Conn{c, a, b} {
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d, %v", n, err)
		} else if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("connection still open: %v", err)
		}
	}
	// A message larger than any query is skipped and answered FORMERR.
	var m dns.Msg
	d := dns.Conn{Conn: dial()}
	d.Conn.Write(append([]byte{0xff, 0xff, 0x12, 0x34}, make([]byte, 65533)...))
	resp, err := d.ReadMsg()
	if err != nil || resp.Rcode != dns.RcodeFormatError || resp.Id != 0x1234 {
		t.Fatalf("response %v, %v", resp, err)
	}
	m.SetQuestion("www.example.", dns.TypeA)
	if err := d.WriteMsg(&m); err != nil {
		t.Fatal(err)
	}
	if resp, err = d.ReadMsg(); err != nil || len(resp.Answer) != 1 {
		t.Errorf("response %v, %v", resp, err)
	}
}

// Closing answers what is in flight, records it, and waits for everything.
func TestCloseInFlight(t *testing.T) {
	arrived := make(chan struct{}, 100)
	up := startUpstream(t, func(string, *dns.Msg) [][]byte {
		arrived <- struct{}{}
		return nil
	})
	for _, proto := range []Protocol{Do53UDP, Do53TCP} {
		cfg := quick(up.as("r", proto))
		cfg.TryTimeout = time.Hour
		pt := startProxy(t, cfg)
		var wg sync.WaitGroup
		for _, network := range []string{"udp", "tcp"} {
			wg.Go(func() {
				c := dns.Client{Net: network, Timeout: patience}
				addr := map[string]string{"udp": pt.udp, "tcp": pt.tcp}[network]
				resp, _, err := c.Exchange(question(network+".wild.example.", dns.TypeA), addr)
				if err != nil || resp.Rcode != dns.RcodeServerFailure {
					t.Errorf("%s upstream %s: %v, %v", network, proto, resp, err)
				}
			})
			<-arrived
		}
		pt.proxy.Close()
		wg.Wait()
		for _, v := range pt.verdicts() {
			if v.Reason != ReasonUpstreamFailure {
				t.Errorf("verdict %+v", v)
			}
		}
		pt.last(2)
		if err := pt.proxy.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := pt.proxy.ServeUDP(conn); err != nil {
			t.Errorf("serving after Close: %v", err)
		}
		if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the socket was left open: %v", err)
		}
	}
}

// Closing amid load loses no verdict: every answer that a client has got was
// recorded before.
func TestCloseUnderLoad(t *testing.T) {
	up := startUpstream(t, zone(""))
	pt := startProxy(t, quick(up.as("r", Do53UDP)))
	var wg sync.WaitGroup
	answered := make(chan int, 8)
	for i := range 8 {
		wg.Go(func() {
			n := 0
			defer func() { answered <- n }()
			network, addr := "udp", pt.udp
			if i%4 == 3 {
				network, addr = "tcp", pt.tcp
			}
			conn, err := dns.Dial(network, addr)
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
				name := []string{"evil.example.", dns.Fqdn(string(rune('a'+n%26)) + ".wild.example"), "localhost."}[n%3]
				if conn.WriteMsg(question(name, dns.TypeA)) != nil {
					return
				}
				if _, err := conn.ReadMsg(); err != nil {
					return
				}
				n++
			}
		})
	}
	for deadline := time.Now().Add(patience); len(pt.verdicts()) < 200; {
		if time.Now().After(deadline) {
			t.Fatalf("%d verdicts after %v", len(pt.verdicts()), patience)
		}
		time.Sleep(time.Millisecond)
	}
	pt.proxy.Close()
	recorded := len(pt.verdicts())
	wg.Wait()
	total := 0
	for range 8 {
		total += <-answered
	}
	if total > recorded || len(pt.verdicts()) != recorded {
		t.Errorf("%d answers, %d verdicts, %d after Close", total, recorded, len(pt.verdicts()))
	}
}

// A client that asks for much and reads nothing loses its connection; others
// are served meanwhile, and Close does not wait for it.
func TestSlowReader(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) [][]byte {
		m := withRecords(q, "")
		for range 200 {
			rr, _ := dns.NewRR(`www.example. 300 IN TXT "` + strings.Repeat("x", 250) + `"`)
			m.Answer = append(m.Answer, rr)
		}
		return pack(m)
	})
	cfg := quick(up.as("r", Do53TCP))
	cfg.Types, cfg.TryTimeout, cfg.TCPIdle = []string{"TXT"}, patience, time.Hour
	pt := startProxy(t, cfg)
	if resp := pt.ask("tcp", question("www.example.", dns.TypeTXT)); len(resp.Answer) != 200 {
		t.Fatalf("response %s", resp)
	}
	conn, err := net.Dial("tcp", pt.tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	b := pack(question("www.example.", dns.TypeTXT))[0]
	query := append(be.AppendUint16(nil, uint16(len(b))), b...)
	for err == nil {
		_, err = conn.Write(query)
	}
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the connection is still open: %v", err)
	}
	if resp := pt.ask("tcp", question("www.example.", dns.TypeTXT)); len(resp.Answer) != 200 {
		t.Errorf("another client: %s", resp)
	}
}

package dnsproxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestCacheLifetime(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		lifetime uint32
		min, max time.Duration
		want     time.Duration // how long it is kept
	}{
		{0, 0, time.Hour, 0},
		{0, time.Minute, time.Hour, 0},
		{10, 0, time.Hour, 10 * time.Second},
		{10, time.Minute, time.Hour, time.Minute},
		{1 << 31, 0, time.Hour, time.Hour},
	} {
		k := newCache(&Config{CacheEntries: 10, CacheBytes: 1 << 20, MinTTL: tc.min, MaxTTL: tc.max})
		k.put("\x00\x01a", &answer{lifetime: tc.lifetime}, now)
		if e, _ := k.get([]byte("\x00\x01a"), now.Add(tc.want-1)); (e != nil) != (tc.want > 0) {
			t.Errorf("%+v: just before its end: %v", tc, e)
		}
		if e, _ := k.get([]byte("\x00\x01a"), now.Add(tc.want)); e != nil {
			t.Errorf("%+v: kept for too long", tc)
		}
	}
}

func TestCacheBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	key := func(i int) string { return fmt.Sprintf("\x00\x01n%d", i) }
	k := newCache(&Config{CacheEntries: 10, CacheBytes: 1 << 20, MaxTTL: time.Hour})
	for i := range 100 {
		k.put(key(i), &answer{lifetime: 60}, now)
		k.get([]byte(key(0)), now) // in use, and so it stays
	}
	if e, _ := k.get([]byte(key(0)), now); e == nil || len(k.entries) != 10 {
		t.Errorf("%d entries; the one in use: %v", len(k.entries), e)
	}
	k = newCache(&Config{CacheEntries: 1000, CacheBytes: 10000, MaxTTL: time.Hour})
	for i := range 100 {
		k.put(key(i), &answer{lifetime: 60, tail: make([]byte, 1000)}, now)
		if k.bytes > 10000 {
			t.Fatalf("%d bytes", k.bytes)
		}
	}
	k.put("big", &answer{lifetime: 60, tail: make([]byte, 20000)}, now)
	if e, _ := k.get([]byte("big"), now); e != nil || len(k.entries) == 0 {
		t.Error("one answer that is too large has emptied the cache, or is in it")
	}
	for key := range k.entries {
		k.get([]byte(key), now.Add(time.Hour))
	}
	if k.bytes != 0 || len(k.entries) != 0 || k.ring.next != &k.ring {
		t.Errorf("%d bytes in %d entries after all have expired", k.bytes, len(k.entries))
	}
	off := newCache(&Config{CacheEntries: -1, CacheBytes: 1 << 20, MaxTTL: time.Hour})
	off.put("\x00\x01a", &answer{lifetime: 60}, now)
	if len(off.entries) != 0 {
		t.Error("the cache is off and keeps something")
	}
}

// TTLs in a cached answer count down, each by itself.
func TestCachedTTL(t *testing.T) {
	wire := []byte("\x03www\x07example\x00")
	msg := pack(withRecords(question("www.example.", dns.TypeA), "www.example. 60 IN CNAME a.test.\na.test. 300 IN A 192.0.2.1\n"))[0]
	var r replyReader
	ans, err := r.read(msg, wire, typeA)
	if err != nil {
		t.Fatal(err)
	}
	for age, want := range map[uint32]string{
		0:   "www.example. 60 IN CNAME a.test.\na.test. 300 IN A 192.0.2.1\n",
		50:  "www.example. 10 IN CNAME a.test.\na.test. 250 IN A 192.0.2.1\n",
		100: "www.example. 0 IN CNAME a.test.\na.test. 200 IN A 192.0.2.1\n",
	} {
		var m dns.Msg
		if err := m.Unpack(appendResponse(nil, &asker{limit: plainUDP}, wire, typeA, ans, age, nil)); err != nil {
			t.Fatal(err)
		}
		if got := text(m.Answer); got != want {
			t.Errorf("at the age of %d:\n%s", age, got)
		}
	}
}

// Negative answers are kept for as long as their SOA says (RFC 2308), failures
// not at all.
func TestNegativeCache(t *testing.T) {
	for _, tc := range []struct {
		records string
		rcode   int
		asked   int
	}{
		{"example. 600 IN SOA ns.example. root.example. 1 2 3 4 90", dns.RcodeNameError, 1},
		{"example. 600 IN SOA ns.example. root.example. 1 2 3 4 90", dns.RcodeSuccess, 1},
		{"example. 600 IN SOA ns.example. root.example. 1 2 3 4 0", dns.RcodeNameError, 2},
		{"", dns.RcodeNameError, 2},
		{"", dns.RcodeServerFailure, 2},
	} {
		up := startUpstream(t, func(_ string, q *dns.Msg) [][]byte {
			m := withRecords(q, tc.records)
			m.Rcode = tc.rcode
			return pack(m)
		})
		pt := startProxy(t, quick(up.as("r", Do53UDP)))
		for range 2 {
			if resp := pt.ask("udp", question("www.example.", dns.TypeA)); resp.Rcode != tc.rcode {
				t.Errorf("response %s", resp)
			}
		}
		if got := len(up.asked()); got != tc.asked {
			t.Errorf("%q, rcode %d: asked %d times, want %d", tc.records, tc.rcode, got, tc.asked)
		}
	}
}

package dnsproxy

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Only what answers the question is passed on, as zone-file text; answers in
// the order of the chain.
var replyTests = []struct {
	name     string
	kind     uint16
	rcode    int
	records  string // what the upstream sends
	answer   string
	ns       string
	lifetime uint32
	texts    string
}{
	{"one address", dns.TypeA, 0, "www.example. 60 IN A 192.0.2.1", "www.example. 60 IN A 192.0.2.1\n", "", 60, "192.0.2.1"},
	{"two addresses", dns.TypeA, 0, "www.example. 60 IN A 192.0.2.1\nwww.example. 30 IN A 192.0.2.2",
		"www.example. 60 IN A 192.0.2.1\nwww.example. 30 IN A 192.0.2.2\n", "", 30, "192.0.2.1 192.0.2.2"},
	{"v6", dns.TypeAAAA, 0, "www.example. 60 IN AAAA 2001:db8::1", "www.example. 60 IN AAAA 2001:db8::1\n", "", 60, "2001:db8::1"},
	{"chain", dns.TypeA, 0, "www.example. 60 IN CNAME e.CDN.test.\ne.cdn.test. 20 IN CNAME f.cdn.test.\nf.cdn.test. 5 IN A 192.0.2.1",
		"www.example. 60 IN CNAME e.cdn.test.\ne.cdn.test. 20 IN CNAME f.cdn.test.\nf.cdn.test. 5 IN A 192.0.2.1\n", "", 5, "e.cdn.test f.cdn.test 192.0.2.1"},
	{"chain out of order", dns.TypeA, 0, "f.cdn.test. 5 IN A 192.0.2.1\ne.cdn.test. 20 IN CNAME f.cdn.test.\nwww.example. 60 IN CNAME e.cdn.test.",
		"www.example. 60 IN CNAME e.cdn.test.\ne.cdn.test. 20 IN CNAME f.cdn.test.\nf.cdn.test. 5 IN A 192.0.2.1\n", "", 5, "e.cdn.test f.cdn.test 192.0.2.1"},
	{"records of others", dns.TypeA, 0, "evil.test. 60 IN A 203.0.113.66\nwww.example. 60 IN A 192.0.2.1\nexample. 60 IN NS ns.evil.test.\nwww.example. 60 IN AAAA ::2",
		"www.example. 60 IN A 192.0.2.1\n", "", 60, "192.0.2.1"},
	{"only records of others", dns.TypeA, 0, "evil.test. 60 IN A 203.0.113.66", "", "", 0, ""},
	{"other class", dns.TypeA, 0, "www.example. 60 CH A 203.0.113.66\nwww.example. 60 IN A 192.0.2.1", "www.example. 60 IN A 192.0.2.1\n", "", 60, "192.0.2.1"},
	{"question for a CNAME", dns.TypeCNAME, 0, "www.example. 60 IN CNAME e.cdn.test.\ne.cdn.test. 5 IN A 192.0.2.1", "www.example. 60 IN CNAME e.cdn.test.\n", "", 60, "e.cdn.test"},
	{"no data", dns.TypeA, 0, "example. 600 IN SOA ns.example. root.example. 1 2 3 4 90", "", "example. 90 IN SOA ns.example. root.example. 1 2 3 4 90\n", 90, ""},
	{"no data behind a chain", dns.TypeA, 0, "www.example. 60 IN CNAME e.cdn.test.\ncdn.test. 600 IN SOA ns.example. root.example. 1 2 3 4 90",
		"www.example. 60 IN CNAME e.cdn.test.\n", "cdn.test. 90 IN SOA ns.example. root.example. 1 2 3 4 90\n", 60, "e.cdn.test"},
	{"no such name", dns.TypeA, 3, "example. 10 IN SOA ns.example. root.example. 1 2 3 4 90", "", "example. 10 IN SOA ns.example. root.example. 1 2 3 4 90\n", 10, ""},
	{"SOA of the root", dns.TypeA, 3, ". 10 IN SOA ns.example. root.example. 1 2 3 4 90", "", ". 10 IN SOA ns.example. root.example. 1 2 3 4 90\n", 10, ""},
	{"SOA of somebody else", dns.TypeA, 3, "other. 10 IN SOA ns.example. root.example. 1 2 3 4 90", "", "", 0, ""},
	{"no SOA", dns.TypeA, 3, "", "", "", 0, ""},
	{"TTL with the top bit", dns.TypeA, 0, "www.example. 2147483648 IN A 192.0.2.1", "www.example. 0 IN A 192.0.2.1\n", "", 0, "192.0.2.1"},
	{"failure with records", dns.TypeA, 2, "www.example. 60 IN A 192.0.2.1", "", "", 0, ""},
	{"MX", dns.TypeMX, 0, "www.example. 60 IN MX 10 mail.EXAMPLE.", "www.example. 60 IN MX 10 mail.example.\n", "", 60, "10 mail.example"},
	{"SRV", dns.TypeSRV, 0, "www.example. 60 IN SRV 1 2 443 a.example.", "www.example. 60 IN SRV 1 2 443 a.example.\n", "", 60, "1 2 443 a.example"},
	{"RP", dns.TypeRP, 0, "www.example. 60 IN RP a.EXAMPLE. b.example.", "www.example. 60 IN RP a.example. b.example.\n", "", 60, `\# 22 0161076578616d706c65000162076578616d706c6500`},
	{"NAPTR", dns.TypeNAPTR, 0, `www.example. 60 IN NAPTR 1 2 "S" "SIP+D2U" "" a.EXAMPLE.`, "www.example. 60 IN NAPTR 1 2 \"S\" \"SIP+D2U\" \"\" a.example.\n", "", 60, `\# 26 000100020153075349502b443255000161076578616d706c6500`},
	{"DNAME", dns.TypeDNAME, 0, "www.example. 60 IN DNAME a.EXAMPLE.", "www.example. 60 IN DNAME a.example.\n", "", 60, "a.example"},
	{"DNAME behind the question", dns.TypeA, 0, "example. 60 IN DNAME test.\nwww.example. 60 IN CNAME www.test.\nwww.test. 60 IN A 192.0.2.1",
		"www.example. 60 IN CNAME www.test.\nwww.test. 60 IN A 192.0.2.1\n", "", 60, "www.test 192.0.2.1"},
	{"HTTPS", dns.TypeHTTPS, 0, "www.example. 60 IN HTTPS 1 . alpn=h2", "www.example. 60 IN HTTPS 1 . alpn=\"h2\"\n", "", 60, `\# 10 00010000010003026832`},
	{"SOA", dns.TypeSOA, 0, "www.example. 60 IN SOA a.example. b.example. 1 2 3 4 5", "www.example. 60 IN SOA a.example. b.example. 1 2 3 4 5\n", "", 60, ""},
	{"target with odd bytes", dns.TypeCNAME, 0, `www.example. 60 IN CNAME a\.b\000.example.`, "www.example. 60 IN CNAME a\\.b\\000.example.\n", "", 60, `a\046b\000.example`},
}

func TestReadReply(t *testing.T) {
	for _, tc := range replyTests {
		t.Run(tc.name, func(t *testing.T) {
			// The question as it goes upstream: in a letter case that must
			// not be seen again in the answer.
			asked := question("wWw.eXaMpLe.", tc.kind)
			reply := withRecords(asked, tc.records)
			reply.Rcode = tc.rcode
			msg := pack(reply)[0]
			var r replyReader
			ans, err := r.read(msg, []byte("\x03www\x07example\x00"), tc.kind)
			if err != nil {
				t.Fatal(err)
			}
			var m dns.Msg
			resp := appendResponse(nil, &asker{limit: maxMessage}, []byte("\x03www\x07example\x00"), tc.kind, ans, 0, nil)
			if err := m.Unpack(resp); err != nil {
				t.Fatalf("%x: %v", resp, err)
			}
			if got := text(m.Answer); got != tc.answer {
				t.Errorf("answer\n%swant\n%s", got, tc.answer)
			}
			if got := text(m.Ns); got != tc.ns {
				t.Errorf("authority\n%swant\n%s", got, tc.ns)
			}
			if tc.rcode != 2 && ans.lifetime != tc.lifetime {
				t.Errorf("lifetime %d, want %d", ans.lifetime, tc.lifetime)
			}
			if got := strings.Join(ans.texts, " "); got != tc.texts {
				t.Errorf("texts %q, want %q", got, tc.texts)
			}
			if m.Rcode != tc.rcode || len(m.Extra) != 0 {
				t.Errorf("response %s", &m)
			}
		})
	}
}

// rHeader is a reply with one record in each count that is given.
func rHeader(an, ns, ar string) string { return "\x00\x00\x81\x80\x00\x01" + an + ns + ar }

const (
	zero = "\x00\x00"
	one  = "\x00\x01"
	rQ   = "\x03www\x07example\x00\x00\x01\x00\x01"
)

var badReplies = []struct{ name, msg string }{
	{"record missing", rHeader(one, zero, zero) + rQ},
	{"record cut", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03"},
	{"address of three bytes", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x03\x01\x02\x03"},
	{"additional cut", rHeader(zero, zero, one) + rQ + "\x00\x00"},
	{"target loops", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x29"},
	{"target points ahead", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x30\x00\x00\x00\x00\x00\x00"},
	{"target into the header", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x00"},
	{"target longer than its data", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x01\x01a\x00"},
	{"data behind the target", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\x00\x00"},
	{"NAPTR cut in a string", rHeader(one, zero, zero) + rQ[:13] + "\x00\x23\x00\x01" + "\xc0\x0c\x00\x23\x00\x01\x00\x00\x00\x3c\x00\x06\x00\x01\x00\x02\x05S"},
	{"too many records", rHeader("\xff\xff", zero, zero) + rQ},
	{"name to itself", rHeader(one, zero, zero) + rQ + "\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c"},
	{"two names to each other", rHeader("\x00\x02", zero, zero) + rQ +
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x03\x01b\x00" + "\x01b\x00\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c"},
}

func TestBadReply(t *testing.T) {
	for _, tc := range badReplies {
		var r replyReader
		kind := be.Uint16([]byte(tc.msg[headerLen+len(rQ)-4:]))
		if ans, err := r.read([]byte(tc.msg), []byte("\x03www\x07example\x00"), kind); err == nil {
			t.Errorf("%s: taken as %+v", tc.name, ans)
		}
	}
}

// BADVERS looks like success to whoever does not read OPT.
func TestExtendedRcode(t *testing.T) {
	msg := rHeader(zero, zero, one) + rQ + "\x00\x00\x29\x04\xd0\x01\x00\x00\x00\x00\x00"
	var r replyReader
	ans, err := r.read([]byte(msg), []byte("\x03www\x07example\x00"), typeA)
	if err != nil || ans.rcode != rcodeBadVersion {
		t.Errorf("%+v, %v", ans, err)
	}
}

package dnsproxy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A query for a.Example in pieces, from which the table makes its mistakes.
const (
	qHeader   = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	qHeaderAR = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
	qName     = "\x01a\x07Example\x00"
	qIN       = "\x00\x01\x00\x01"
	qOPT      = "\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x00"
)

var queryTests = []struct {
	name string
	msg  string
	want error
	// answerable says that FORMERR is sent for it.
	answerable bool
}{
	{"plain", qHeader + qName + qIN, nil, true},
	{"edns", qHeaderAR + qName + qIN + qOPT, nil, true},
	{"edns option", qHeaderAR + qName + qIN + "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x06\x00\x0a\x00\x02ab", nil, true},
	{"root", qHeader + "\x00" + qIN, nil, true},
	{"label of 63", qHeader + "\x3f" + strings.Repeat("a", 63) + "\x00" + qIN, nil, true},
	{"name of 253", qHeader + strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x3d" + strings.Repeat("a", 61) + "\x00" + qIN, nil, true},

	{"empty", "", errShort, false},
	{"one byte", "\x12", errShort, false},
	{"id only", "\x12\x34", errShort, true},
	{"cut header", qHeader[:11], errShort, true},
	{"response", "\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00" + qName + qIN, errResponse, false},
	{"status", "\x12\x34\x11\x00\x00\x01\x00\x00\x00\x00\x00\x00" + qName + qIN, errOpcode, true},
	{"update", "\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00" + qName + qIN, errOpcode, true},
	{"no question", "\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", errCounts, true},
	{"two questions", "\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00" + qName + qIN + qName + qIN, errCounts, true},
	{"answer", "\x12\x34\x01\x00\x00\x01\x00\x01\x00\x00\x00\x00" + qName + qIN, errCounts, true},
	{"authority", "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x01\x00\x00" + qName + qIN, errCounts, true},
	{"two additional", "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x02" + qName + qIN + qOPT + qOPT, errCounts, true},
	{"no name", qHeader, errName, true},
	{"name without end", qHeader + "\x01a", errName, true},
	{"label past the end", qHeader + "\x3fa", errName, true},
	{"label of 64", qHeader + "\x40" + strings.Repeat("a", 64) + "\x00" + qIN, errName, true},
	{"name of 254", qHeader + strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x3e" + strings.Repeat("a", 62) + "\x00" + qIN, errName, true},
	{"pointer to itself", qHeader + "\xc0\x0c" + qIN, errName, true},
	{"pointer behind a label", qHeader + "\x01a\xc0\x0c" + qIN, errName, true},
	{"reserved label form", qHeader + "\x80\x00" + qIN, errName, true},
	{"dot in a label", qHeader + "\x03a.b\x00" + qIN, errName, true},
	{"NUL in a label", qHeader + "\x03a\x00b\x00" + qIN, errName, true},
	{"space in a label", qHeader + "\x03a b\x00" + qIN, errName, true},
	{"UTF-8 in a label", qHeader + "\x03a\xc3\xa9\x00" + qIN, errName, true},
	{"asterisk", qHeader + "\x01*\x07example\x00" + qIN, errName, true},
	{"no type", qHeader + qName + "\x00", errName, true},
	{"no class", qHeader + qName + "\x00\x01", errName, true},
	{"class CHAOS", qHeader + qName + "\x00\x01\x00\x03", errClass, true},
	{"class ANY", qHeader + qName + "\x00\x01\x00\xff", errClass, true},
	{"trailing byte", qHeader + qName + qIN + "\x00", errTrailing, true},
	{"OPT not counted", qHeader + qName + qIN + qOPT, errTrailing, true},
	{"OPT missing", qHeaderAR + qName + qIN, errTrailing, true},
	{"OPT cut", qHeaderAR + qName + qIN + qOPT[:10], errTrailing, true},
	{"OPT with a name", qHeaderAR + qName + qIN + "\x01" + qOPT, errTrailing, true},
	{"TSIG", qHeaderAR + qName + qIN + "\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00", errTrailing, true},
	{"option past the end", qHeaderAR + qName + qIN + "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x06\x00\x0a\x00\x03ab", errTrailing, true},
	{"option cut", qHeaderAR + qName + qIN + "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x03\x00\x0a\x00", errTrailing, true},
	{"data behind OPT", qHeaderAR + qName + qIN + qOPT + "\x00", errTrailing, true},
	{"EDNS version 1", qHeaderAR + qName + qIN + "\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00", errVersion, true},
}

func TestParseQuery(t *testing.T) {
	for _, tc := range queryTests {
		t.Run(tc.name, func(t *testing.T) {
			var q query
			if err := q.parse([]byte(tc.msg), plainUDP); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if q.answerable != tc.answerable {
				t.Errorf("answerable %v, want %v", q.answerable, tc.answerable)
			}
		})
	}
	var q query
	if err := q.parse([]byte(qHeaderAR+qName+qIN+qOPT), plainUDP); err != nil {
		t.Fatal(err)
	}
	if string(q.name()) != "a.example" || q.id != 0x1234 || !q.rd || !q.edns || q.limit != maxUDP || q.kind != typeA {
		t.Errorf("name %q, %+v", q.name(), q.asker)
	}
	if got := string(appendCased(nil, q.wireName(), &q.upper)); got != qName {
		t.Errorf("spelling %q, want %q", got, qName)
	}
}

// A message that cannot be understood is answered FORMERR, or dropped, but it
// always has a verdict.
func TestMalformedHasVerdict(t *testing.T) {
	up := startUpstream(t, zone(""))
	pt := startProxy(t, Config{Names: []string{"a.example"}, Upstreams: []Upstream{up.as("r", Do53UDP)}})
	w := pt.proxy.worker()
	defer w.release()
	n := 0
	for _, tc := range queryTests {
		if tc.want == nil {
			continue
		}
		resp := handleTCP(w, []byte(tc.msg))
		n++
		v := pt.last(n)
		want := RcodeFormatError
		switch {
		case !tc.answerable:
			want = NoResponse
		case tc.want == errVersion:
			want = rcodeBadVersion
		}
		if v.Reason != ReasonMalformed || v.Allow || v.Rcode != want {
			t.Errorf("%s: verdict %+v, want rcode %d", tc.name, v, want)
		}
		if want == NoResponse {
			if resp != nil {
				t.Errorf("%s: answered %x", tc.name, resp)
			}
			continue
		}
		var m dns.Msg
		if err := m.Unpack(resp); err != nil || m.Rcode != want || m.Id != 0x1234 || !m.Response {
			t.Errorf("%s: answered %x (%v)", tc.name, resp, err)
		}
	}
	if len(up.asked()) != 0 {
		t.Errorf("malformed queries went upstream: %v", up.asked())
	}
}

// handleTCP passes a message to a worker as if it came over TCP, and returns
// what would be written; nil if that is nothing.
func handleTCP(w *worker, msg []byte) []byte {
	c := &tcpConn{answers: make(chan []byte, 1)}
	w.handle(msg, false, &client{tcp: c}, maxMessage, time.Now())
	w.flush()
	return <-c.answers
}

package dnsproxy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzHandle sends any bytes as a query. Whatever they are there is exactly one
// verdict; a name that is not allowed is not asked for; the response belongs to
// the query and another implementation can read it.
func FuzzHandle(f *testing.F) {
	for _, tc := range queryTests {
		f.Add([]byte(tc.msg), true)
		f.Add([]byte(tc.msg), false)
	}
	f.Add(pack(question("www.allowed.example.", dns.TypeA).SetEdns0(512, true))[0], false)
	f.Add(pack(question("localhost.", dns.TypeAAAA))[0], false)
	var verdicts []Verdict
	dialled := 0
	p, err := New(Config{
		Names: []string{"allowed.example", "*.allowed.example"},
		Upstreams: []Upstream{{ID: "none", Protocol: Do53UDP, Dial: func(context.Context, string) (net.Conn, error) {
			dialled++
			return nil, errors.New("none")
		}}},
		Record: func(v Verdict) error { verdicts = append(verdicts, v); return nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	w := p.worker()
	f.Fuzz(func(t *testing.T, msg []byte, overUDP bool) {
		verdicts, dialled = verdicts[:0], 0
		c := &tcpConn{answers: make(chan []byte, 1)}
		limit := maxMessage
		if overUDP {
			limit = plainUDP
		}
		w.handle(msg, false, &client{tcp: c}, limit, time.Now())
		resp := <-c.answers
		if len(verdicts) != 1 {
			t.Fatalf("%d verdicts: %+v", len(verdicts), verdicts)
		}
		v := verdicts[0]
		listed := v.Name == "allowed.example" || strings.HasSuffix(v.Name, ".allowed.example")
		if dialled > 0 && (!listed || v.Reason != ReasonUpstreamFailure) {
			t.Fatalf("asked upstream for %+v", v)
		}
		if (resp == nil) != (v.Rcode == NoResponse) {
			t.Fatalf("response %x for %+v", resp, v)
		}
		if resp == nil {
			return
		}
		if len(resp) > limit || overUDP && len(resp) > maxUDP || !bytes.Equal(resp[:2], msg[:2]) || resp[2]&0x80 == 0 {
			t.Fatalf("response %x to %x", resp, msg)
		}
		var m dns.Msg
		if err := m.Unpack(resp); err != nil || m.Rcode != v.Rcode {
			t.Fatalf("response %x: %v, verdict %+v", resp, err, v)
		}
		if v.Reason == ReasonMalformed {
			return
		}
		// What was judged is what another implementation reads, too. That one
		// also has an opinion on the contents of EDNS options, which the proxy
		// skips: the error is then about them, and the question was read.
		var q dns.Msg
		if err := q.Unpack(msg); len(q.Question) != 1 {
			t.Fatalf("query %x: %v", msg, err)
		}
		name := strings.ToLower(q.Question[0].Name)
		if name != "." {
			name = strings.TrimSuffix(name, ".")
		}
		if name != v.Name || typeName(q.Question[0].Qtype) != v.Type {
			t.Fatalf("judged %s %s, asked %s", v.Name, v.Type, q.Question[0].String())
		}
		if m.Question[0] != q.Question[0] {
			t.Fatalf("question %v became %v", q.Question[0], m.Question[0])
		}
	})
}

// FuzzReadReply reads any bytes as a reply behind the right question. What
// comes out is a response that another implementation can read, and every
// record in it hangs together with the question.
func FuzzReadReply(f *testing.F) {
	for _, tc := range replyTests {
		msg := withRecords(question("www.example.", tc.kind), tc.records)
		msg.Rcode = tc.rcode
		f.Add(pack(msg)[0][:12], pack(msg)[0][12+len(rQ):], tc.kind)
	}
	for _, tc := range badReplies {
		f.Add([]byte(tc.msg[:12]), []byte(tc.msg[12+len(rQ):]), uint16(typeA))
	}
	wire := []byte("\x03www\x07example\x00")
	var r replyReader
	f.Fuzz(func(t *testing.T, header, rest []byte, kind uint16) {
		if len(header) != headerLen || kind == 0 || refusedType(kind) != "" {
			return
		}
		msg := appendQuestion(bytes.Clone(header), wire, &caseBits{}, kind)
		msg = append(msg, rest...)
		if len(msg) > maxMessage {
			return
		}
		ans, err := r.read(msg, wire, kind)
		if err != nil {
			return
		}
		resp := appendResponse(nil, &asker{limit: maxMessage}, wire, kind, ans, 1, nil)
		if len(resp) > maxMessage || len(ans.texts) > maxAnswers {
			t.Fatalf("%d bytes, %d texts", len(resp), len(ans.texts))
		}
		checkChain(t, resp, kind)
	})
}

// checkChain checks that the answers in a response are the CNAME chain of
// www.example and what is at its end.
func checkChain(t *testing.T, resp []byte, kind uint16) {
	t.Helper()
	var p replyReader
	p.msg = resp
	off := headerLen + len(rQ)
	n := int(be.Uint16(resp[6:])) + int(be.Uint16(resp[8:]))
	if end, ok := p.walk(off, n); !ok || end != len(resp) || len(p.records) != n {
		t.Fatalf("malformed response %x", resp)
	}
	name, _ := appendName(nil, resp, headerLen)
	for i, rec := range p.records[:be.Uint16(resp[6:])] {
		if !nameIs(resp, rec.owner, name) {
			t.Fatalf("record %d of %x is about another name than %q", i, resp, name)
		}
		switch {
		case rec.kind == kind:
		case rec.kind == typeCNAME:
			name, _ = appendName(nil, resp, rec.data)
		default:
			t.Fatalf("record %d of %x has type %d", i, resp, rec.kind)
		}
	}
}

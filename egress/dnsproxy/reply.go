package dnsproxy

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
)

// Bounds of what is read of one reply.
const (
	maxRecords = 1024
	maxChain   = 16
)

// Why a reply that fits the question is still of no use.
var (
	errReplyForm  = errors.New("malformed reply")
	errReplyChain = errors.New("CNAME chain without an end")
	errReplySize  = errors.New("reply with too many records")
)

// record is where one record of a message is.
type record struct {
	owner    int
	kind     uint16
	ttl      uint32
	data, rd int // offset and length of its data
}

// replyReader reduces replies to answers. It is reused from one to the next.
type replyReader struct {
	msg     []byte
	records []record
	tail    []byte
	ttls    []uint16
	texts   []string
	base    int // where tail will start in a response
}

// read reduces msg, whose question has been checked to be wire and kind, to
// what answers it: the records at the end of the CNAME chain that starts at the
// question, the chain, and for a negative answer the SOA that bounds it
// (RFC 2308). Everything else in a reply is somebody's opinion about another
// question. Names are written in full and in lower case, so nothing of the
// letter case that was sent upstream remains.
func (r *replyReader) read(msg, wire []byte, kind uint16) (*answer, error) {
	r.msg, r.records, r.tail, r.ttls, r.texts = msg, r.records[:0], r.tail[:0], r.ttls[:0], nil
	r.base = headerLen + len(wire) + 4
	ans := &answer{rcode: be.Uint16(msg[2:]) & maskRcode}
	an, ns, ar := int(be.Uint16(msg[6:])), int(be.Uint16(msg[8:])), int(be.Uint16(msg[10:]))
	if an+ns+ar > maxRecords {
		return nil, errReplySize
	}
	off, ok := r.base, true
	if off, ok = r.walk(off, an); !ok {
		return nil, errReplyForm
	}
	soa := len(r.records)
	if off, ok = r.walk(off, ns); !ok {
		return nil, errReplyForm
	}
	opt := len(r.records)
	if _, ok = r.walk(off, ar); !ok {
		return nil, errReplyForm
	}
	for _, rec := range r.records[opt:] {
		if rec.kind == typeOPT {
			ans.rcode |= uint16(rec.ttl>>24) << 4
		}
	}
	if ans.rcode != RcodeSuccess && ans.rcode != RcodeNameError {
		return ans, nil // without records: a failure vouches for none
	}
	lifetime := ^uint32(0)
	final, found, err := r.chain(r.records[:soa], wire, kind, ans, &lifetime)
	if err != nil {
		return nil, err
	}
	if !found {
		if err := r.negative(r.records[soa:opt], final, ans, &lifetime); err != nil {
			return nil, err
		}
	}
	ans.lifetime = lifetime
	ans.tail = append([]byte(nil), r.tail...)
	ans.ttls = append([]uint16(nil), r.ttls...)
	ans.texts = r.texts
	return ans, nil
}

// walk collects n records from off on.
func (r *replyReader) walk(off, n int) (end int, ok bool) {
	for range n {
		rec := record{owner: off}
		if off, ok = skipName(r.msg, off); !ok || len(r.msg)-off < 10 {
			return 0, false
		}
		rec.kind = be.Uint16(r.msg[off:])
		class := be.Uint16(r.msg[off+2:])
		rec.ttl = be.Uint32(r.msg[off+4:])
		if rec.kind != typeOPT && rec.ttl > 1<<31-1 {
			rec.ttl = 0 // RFC 2181, section 8
		}
		rec.rd = int(be.Uint16(r.msg[off+8:]))
		rec.data = off + 10
		off = rec.data + rec.rd
		if off > len(r.msg) {
			return 0, false
		}
		if class == classIN || rec.kind == typeOPT {
			r.records = append(r.records, rec)
		}
	}
	return off, true
}

// chain writes the records that answer the question, following CNAMEs from it,
// and returns the name at the end of the chain.
func (r *replyReader) chain(records []record, wire []byte, kind uint16, ans *answer, lifetime *uint32) (final []byte, found bool, err error) {
	name, owner := wire, uint16(questionPointer)
	for range maxChain {
		cname := -1
		for i := range records {
			rec := &records[i]
			if rec.kind != kind && rec.kind != typeCNAME || !nameIs(r.msg, rec.owner, name) {
				continue
			}
			if rec.kind != kind {
				cname = i
				continue
			}
			found = true
			if err := r.write(rec, owner, rec.ttl, lifetime); err != nil {
				return nil, false, err
			}
			ans.answers++
			if kind == typeA || kind == typeAAAA {
				addr, _ := netip.AddrFromSlice(r.msg[rec.data : rec.data+rec.rd])
				ans.addrs = append(ans.addrs, addr)
			}
		}
		if found || cname < 0 {
			return name, found, nil
		}
		rec := &records[cname]
		// The target is written where the next owner can point to.
		at := r.base + len(r.tail) + 12
		if at >= 1<<14 {
			return nil, false, errReplyChain
		}
		if err := r.write(rec, owner, rec.ttl, lifetime); err != nil {
			return nil, false, err
		}
		ans.answers++
		var target [maxWireName]byte
		name, _ = appendName(target[:0], r.msg, rec.data)
		owner = 0xc000 | uint16(at)
	}
	return nil, false, errReplyChain
}

// negative writes the SOA record that says how long nothing may be remembered
// about name (RFC 2308, sections 3 and 5). Without one it may not be at all.
func (r *replyReader) negative(records []record, name []byte, ans *answer, lifetime *uint32) error {
	for i := range records {
		rec := &records[i]
		if rec.kind != typeSOA || rec.rd < 22 {
			continue
		}
		var zone [maxWireName]byte
		owner, ok := appendName(zone[:0], r.msg, rec.owner)
		if !ok {
			return errReplyForm
		}
		if !within(name, owner) {
			continue
		}
		minimum := be.Uint32(r.msg[rec.data+rec.rd-4:])
		ttl := min(rec.ttl, minimum)
		// An owner in full, in place of the pointer that write puts.
		r.tail = append(r.tail, owner...)
		at := len(r.tail)
		if err := r.write(rec, questionPointer, ttl, lifetime); err != nil {
			return err
		}
		r.tail = append(r.tail[:at], r.tail[at+2:]...)
		r.ttls[len(r.ttls)-1] -= 2
		ans.authority = 1
		return nil
	}
	*lifetime = 0
	return nil
}

// write appends one record to tail.
func (r *replyReader) write(rec *record, owner uint16, ttl uint32, lifetime *uint32) error {
	if len(r.tail) > maxMessage-r.base-optLen-12-rec.rd {
		return errReplySize
	}
	at := len(r.tail)
	r.tail = appendRecord(r.tail, owner, rec.kind, ttl, 0)
	r.ttls = append(r.ttls, uint16(at+6))
	start := len(r.tail)
	var ok bool
	if r.tail, ok = appendData(r.tail, r.msg, rec); !ok {
		return errReplyForm
	}
	n := len(r.tail) - start
	if len(r.tail) > maxMessage-r.base-optLen {
		return errReplySize
	}
	be.PutUint16(r.tail[start-2:], uint16(n))
	*lifetime = min(*lifetime, ttl)
	if rec.kind != typeSOA && len(r.texts) < maxAnswers {
		r.texts = append(r.texts, dataText(rec.kind, r.tail[start:]))
	}
	return nil
}

// appendData appends the data of a record, its names decompressed: only the
// types of RFC 1035, and SRV from servers that get it wrong, compress them
// (RFC 3597, section 4).
func appendData(b, msg []byte, rec *record) ([]byte, bool) {
	data := msg[rec.data : rec.data+rec.rd]
	var prefix, names, suffix int
	switch rec.kind {
	case typeA:
		return append(b, data...), len(data) == 4
	case typeAAAA:
		return append(b, data...), len(data) == 16
	case typeCNAME, typeNS, typePTR, typeDNAME:
		names = 1
	case typeRP:
		names = 2
	case typeNAPTR: // RFC 3403: two numbers, three strings, a name
		prefix = 4
		for range 3 {
			if prefix < len(data) {
				prefix += 1 + int(data[prefix])
			}
		}
		names = 1
	case typeMX:
		prefix, names = 2, 1
	case typeSRV:
		prefix, names = 6, 1
	case typeSOA:
		names, suffix = 2, 20
	default:
		return append(b, data...), true
	}
	if len(data) < prefix {
		return b, false
	}
	b = append(b, data[:prefix]...)
	off, end := rec.data+prefix, rec.data+rec.rd
	for range names {
		var ok bool
		if b, ok = appendName(b, msg, off); !ok {
			return b, false
		}
		off, _ = skipName(msg, off)
	}
	if off > end || end-off != suffix {
		return b, false
	}
	return append(b, msg[off:end]...), true
}

// dataText is the data of a record as a verdict shows it.
func dataText(kind uint16, data []byte) string {
	switch kind {
	case typeA, typeAAAA:
		addr, _ := netip.AddrFromSlice(data)
		return addr.String()
	case typeCNAME, typeNS, typePTR, typeDNAME:
		return nameText(data)
	case typeMX:
		return strconv.Itoa(int(be.Uint16(data))) + " " + nameText(data[2:])
	case typeSRV:
		text := ""
		for i := 0; i < 6; i += 2 {
			text += strconv.Itoa(int(be.Uint16(data[i:]))) + " "
		}
		return text + nameText(data[6:])
	}
	text := `\# ` + strconv.Itoa(len(data)) + " "
	const room = maxAnswerText / 4
	if len(data) > room {
		return text + hex.EncodeToString(data[:room]) + "..."
	}
	return text + hex.EncodeToString(data)
}

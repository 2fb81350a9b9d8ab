package dnsproxy

import "errors"

// Why a message is not a query that can be judged.
var (
	errShort     = errors.New("shorter than a header")
	errResponse  = errors.New("a response, not a query")
	errOpcode    = errors.New("not a standard query")
	errCounts    = errors.New("not exactly one question and at most one OPT record")
	errName      = errors.New("not a host name in uncompressed form")
	errClass     = errors.New("class is not IN")
	errTrailing  = errors.New("malformed or unexpected data behind the question")
	errVersion   = errors.New("EDNS version is not 0")
	errTruncated = errors.New("larger than a query may be")
)

// asker is what an answer owes to the particular client that asked.
type asker struct {
	id    uint16
	rd    bool
	edns  bool
	limit int      // largest response that it can take
	upper caseBits // its spelling of the name
}

// query is a parsed query. It is reused from one to the next.
type query struct {
	asker
	kind uint16
	// key is the type and then the dotted, lower-case name: what the
	// cache and the questions in flight are found by.
	key    [2 + maxWireName]byte
	keyLen int
	wire   [maxWireName]byte // the lower-case name in wire form
	wireN  int

	opcode     uint16 // in place, as the header has it
	answerable bool   // an id could be read, and it is no response
}

func (q *query) name() []byte     { return q.key[2:q.keyLen] }
func (q *query) keyBytes() []byte { return q.key[:q.keyLen] }
func (q *query) wireName() []byte { return q.wire[:q.wireN] }

// parse reads msg. Header counts are judged before anything is walked. On
// errVersion the question is valid; on other errors only asker is, as far as
// answerable says.
func (q *query) parse(msg []byte, limit int) error {
	q.asker = asker{limit: limit}
	q.answerable, q.opcode, q.kind, q.keyLen, q.wireN = false, 0, 0, 2, 0
	if len(msg) < 2 {
		return errShort
	}
	q.id = be.Uint16(msg)
	if len(msg) < headerLen {
		q.answerable = true
		return errShort
	}
	flags := be.Uint16(msg[2:])
	// A response is dropped: were it answered, two servers could keep each
	// other busy for ever with one forged datagram.
	if flags&flagQR != 0 {
		return errResponse
	}
	q.answerable = true
	q.rd = flags&flagRD != 0
	q.opcode = flags & maskOpcode
	if q.opcode != 0 {
		return errOpcode
	}
	extra := be.Uint16(msg[10:])
	if be.Uint16(msg[4:]) != 1 || be.Uint16(msg[6:]) != 0 || be.Uint16(msg[8:]) != 0 || extra > 1 {
		return errCounts
	}
	end, ok := q.parseName(msg)
	if !ok {
		return errName
	}
	if len(msg) < end+4 {
		return errName
	}
	q.kind = be.Uint16(msg[end:])
	be.PutUint16(q.key[:], q.kind)
	if be.Uint16(msg[end+2:]) != classIN {
		return errClass
	}
	rest := msg[end+4:]
	if extra == 0 {
		if len(rest) != 0 {
			return errTrailing
		}
		return nil
	}
	return q.parseOPT(rest)
}

// parseName reads the name of the question into wire, key and upper, and
// returns where it ends.
func (q *query) parseName(msg []byte) (end int, ok bool) {
	off, key := headerLen, 2
	for {
		if off >= len(msg) {
			return 0, false
		}
		n := int(msg[off])
		if n == 0 {
			break
		}
		// More than 63 is a compression pointer or a reserved form.
		if n > maxLabel || off+1+n >= len(msg) || q.wireN+1+n+1 > maxWireName {
			return 0, false
		}
		q.wire[q.wireN] = byte(n)
		q.wireN++
		for _, c := range msg[off+1 : off+1+n] {
			l := hostByte[c]
			if l == 0 {
				return 0, false
			}
			if l != c {
				q.upper.set(q.wireN)
			}
			q.wire[q.wireN] = l
			q.wireN++
			q.key[key] = l
			key++
		}
		q.key[key] = '.'
		key++
		off += 1 + n
	}
	q.wire[q.wireN] = 0
	q.wireN++
	if key == 2 {
		q.key[key] = '.'
		key++ // the root is shown as a dot
	} else {
		key-- // other names without the last one
	}
	q.keyLen = key
	return off + 1, true
}

// parseOPT reads the OPT record that makes up the rest of a query (RFC 6891,
// section 6.1.2). Its options are checked for their bounds and not used: what
// a client adds to a query never leaves the process.
func (q *query) parseOPT(b []byte) error {
	if len(b) < 11 || b[0] != 0 || be.Uint16(b[1:]) != typeOPT {
		return errTrailing
	}
	size, version, n := int(be.Uint16(b[3:])), b[6], int(be.Uint16(b[9:]))
	opts := b[11:]
	if len(opts) != n {
		return errTrailing
	}
	for len(opts) > 0 {
		if len(opts) < 4 || len(opts)-4 < int(be.Uint16(opts[2:])) {
			return errTrailing
		}
		opts = opts[4+int(be.Uint16(opts[2:])):]
	}
	q.edns = true
	if q.limit == plainUDP {
		q.limit = min(max(size, plainUDP), maxUDP)
	}
	if version != 0 {
		return errVersion
	}
	return nil
}

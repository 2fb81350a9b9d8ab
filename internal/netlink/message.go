package netlink

import (
	"encoding/binary"
	"errors"
	"iter"
)

// Sizes of struct nlmsghdr and struct nlattr.
const (
	headerLen = 16
	attrLen   = 4
)

// Flags of a request that is answered: NLM_F_ACK and NLM_F_DUMP.
const (
	flagAck  = 0x4
	flagDump = 0x300
)

// attrMask leaves the type of an attribute without NLA_F_NESTED and
// NLA_F_NET_BYTEORDER.
const attrMask = 0x3fff

// ErrMessage is what a message that is cut short or lies about its length is.
var ErrMessage = errors.New("malformed netlink message")

var (
	host = binary.NativeEndian
	be   = binary.BigEndian
)

// A Builder lays out messages one behind the other. The zero value is empty.
type Builder struct {
	buf   []byte
	start int // of the open message, behind which nothing was closed yet
	seq   uint32
	last  uint32 // the last message that is answered
	long  bool   // an attribute was longer than its length can say
}

// Message begins a message with its fixed part. Attributes follow.
func (b *Builder) Message(typ, flags uint16, fixed []byte) {
	b.close()
	b.start = len(b.buf)
	b.seq++
	if flags&(flagAck|flagDump) != 0 {
		b.last = b.seq
	}
	b.buf = host.AppendUint32(b.buf, 0)
	b.buf = host.AppendUint16(b.buf, typ)
	b.buf = host.AppendUint16(b.buf, flags)
	b.buf = host.AppendUint32(b.buf, b.seq)
	b.buf = host.AppendUint32(b.buf, 0)
	b.buf = append(b.buf, fixed...)
	b.pad()
}

// close writes the length of the open message.
func (b *Builder) close() {
	if b.start < len(b.buf) {
		host.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	}
}

func (b *Builder) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// Messages returns what was laid out.
func (b *Builder) Messages() ([]byte, error) {
	b.close()
	if b.long {
		return nil, errors.New("a netlink attribute is longer than 65535 bytes")
	}
	return b.buf, nil
}

// Bytes appends an attribute.
func (b *Builder) Bytes(typ uint16, data []byte) {
	b.attr(typ, func() { b.buf = append(b.buf, data...) })
}

// Nest appends an attribute that consists of attributes.
func (b *Builder) Nest(typ uint16, inside func()) { b.attr(typ|1<<15, inside) }

func (b *Builder) attr(typ uint16, data func()) {
	at := len(b.buf)
	b.buf = host.AppendUint16(b.buf, 0)
	b.buf = host.AppendUint16(b.buf, typ)
	data()
	n := len(b.buf) - at
	b.long = b.long || n > 1<<16-1
	host.PutUint16(b.buf[at:], uint16(n))
	b.pad()
}

// String appends an attribute with a text that ends in a zero byte.
func (b *Builder) String(typ uint16, s string) {
	b.attr(typ, func() { b.buf = append(append(b.buf, s...), 0) })
}

// U8 appends an attribute of one byte.
func (b *Builder) U8(typ uint16, v uint8) {
	b.attr(typ, func() { b.buf = append(b.buf, v) })
}

// BE16, BE32 and BE64 append numbers in network byte order, U32 one in the
// host's.
func (b *Builder) BE16(typ uint16, v uint16) {
	b.attr(typ, func() { b.buf = be.AppendUint16(b.buf, v) })
}

// BE32 is described at BE16.
func (b *Builder) BE32(typ uint16, v uint32) {
	b.attr(typ, func() { b.buf = be.AppendUint32(b.buf, v) })
}

// BE64 is described at BE16.
func (b *Builder) BE64(typ uint16, v uint64) {
	b.attr(typ, func() { b.buf = be.AppendUint64(b.buf, v) })
}

// U32 is described at BE16.
func (b *Builder) U32(typ uint16, v uint32) {
	b.attr(typ, func() { b.buf = host.AppendUint32(b.buf, v) })
}

// A Message is one message from the kernel.
type Message struct {
	Type, Flags uint16
	Seq         uint32
	Data        []byte // fixed part and attributes
}

// Split yields the messages of a datagram, and ErrMessage if it ends in
// something else.
func Split(b []byte) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for len(b) > 0 {
			if len(b) < headerLen {
				yield(Message{}, ErrMessage)
				return
			}
			n := int(host.Uint32(b))
			if n < headerLen || n > len(b) {
				yield(Message{}, ErrMessage)
				return
			}
			m := Message{host.Uint16(b[4:]), host.Uint16(b[6:]), host.Uint32(b[8:]), b[headerLen:n]}
			if !yield(m, nil) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// Attrs yields the attributes in b, up to the first that is malformed.
func Attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrLen {
			n := int(host.Uint16(b))
			if n < attrLen || n > len(b) {
				return
			}
			if !yield(host.Uint16(b[2:])&attrMask, b[attrLen:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// Attr returns the first attribute of a type, or nil.
func Attr(b []byte, typ uint16) []byte {
	for t, data := range Attrs(b) {
		if t == typ {
			return data
		}
	}
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }

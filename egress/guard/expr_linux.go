package guard

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

// A ruleEncoder translates the statements of one rule. The table sees both
// families, so the first statement about addresses asks for theirs.
type ruleEncoder struct {
	*encoder
	family byte // that the rule has asked for
}

func (r *ruleEncoder) statement(s plan.Statement) error {
	switch s := s.(type) {
	case plan.Match:
		return r.match(s)
	case plan.In:
		r.in(s)
	case plan.IsTransport:
		r.meta(unix.NFT_META_L4PROTO, reg1)
		r.compare(unix.NFT_CMP_EQ, []byte{byte(s.Protocol)})
	case plan.Established:
		r.established()
	case plan.ToPort:
		r.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg1)
		r.compare(unix.NFT_CMP_EQ, []byte{byte(s.Port >> 8), byte(s.Port)})
	case plan.Count:
		r.expr("objref", func(b *netlink.Builder) {
			b.BE32(objrefType, objCounter)
			b.String(objrefName, s.Counter)
		})
	case plan.Limit:
		r.expr("limit", func(b *netlink.Builder) {
			b.BE64(unix.NFTA_LIMIT_RATE, uint64(s.Rate))
			b.BE64(unix.NFTA_LIMIT_UNIT, 1)
			b.BE32(unix.NFTA_LIMIT_BURST, s.Burst)
			b.BE32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
			b.BE32(unix.NFTA_LIMIT_FLAGS, 0)
		})
	case plan.Log:
		r.expr("log", func(b *netlink.Builder) {
			b.BE16(unix.NFTA_LOG_GROUP, s.Group)
			b.BE32(unix.NFTA_LOG_SNAPLEN, s.Bytes)
			b.BE16(unix.NFTA_LOG_QTHRESHOLD, 1)
		})
	case plan.Accept:
		r.verdict(nfAccept, "")
	case plan.Goto:
		r.verdict(toGoto, s.Chain)
	case plan.Reset:
		r.expr("reject", func(b *netlink.Builder) { b.BE32(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST) })
	case plan.Redirect:
		r.redirect(s.To)
	default:
		return fmt.Errorf("%T cannot be translated", s)
	}
	return nil
}

// match compares an address with a prefix of whole bytes.
func (r *ruleEncoder) match(m plan.Match) error {
	if m.Prefix.Bits() < 8 || m.Prefix.Bits()%8 != 0 {
		return errors.New("a prefix must end at a byte")
	}
	v6 := m.Prefix.Addr().Is6()
	r.isFamily(v6)
	n := m.Prefix.Bits() / 8
	r.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, addressAt(v6, m.Source), uint32(n), reg1)
	op := uint32(unix.NFT_CMP_EQ)
	if m.Not {
		op = unix.NFT_CMP_NEQ
	}
	r.compare(op, m.Prefix.Addr().AsSlice()[:n])
	return nil
}

// addressAt is the offset of an address in the IP header.
func addressAt(v6, source bool) uint32 {
	switch {
	case v6 && source:
		return 8
	case v6:
		return 24
	case source:
		return 12
	}
	return 16
}

// in looks destination address, protocol and port up in a set.
func (r *ruleEncoder) in(s plan.In) {
	r.isFamily(s.V6)
	words := 1
	if s.V6 {
		words = 4
	}
	r.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, addressAt(s.V6, false), uint32(4*words), reg1)
	r.meta(unix.NFT_META_L4PROTO, wordReg(words))
	r.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, wordReg(words+1))
	r.expr("lookup", func(b *netlink.Builder) {
		b.String(unix.NFTA_LOOKUP_SET, s.Set)
		b.BE32(unix.NFTA_LOOKUP_SREG, reg1)
	})
}

// established matches TCP segments other than the first of a connection: of
// SYN, RST and ACK it has not SYN alone.
func (r *ruleEncoder) established() {
	const syn, rst, ack = 0x02, 0x04, 0x10
	r.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, reg1)
	r.expr("bitwise", func(b *netlink.Builder) {
		b.BE32(unix.NFTA_BITWISE_SREG, reg1)
		b.BE32(unix.NFTA_BITWISE_DREG, reg1)
		b.BE32(unix.NFTA_BITWISE_LEN, 1)
		r.data(unix.NFTA_BITWISE_MASK, []byte{syn | rst | ack})
		r.data(unix.NFTA_BITWISE_XOR, []byte{0})
	})
	r.compare(unix.NFT_CMP_NEQ, []byte{syn})
}

// redirect gives a packet to the socket that listens at an address. If there
// is none the rule does not match.
func (r *ruleEncoder) redirect(to netip.AddrPort) {
	r.isFamily(to.Addr().Is6())
	port := []byte{byte(to.Port() >> 8), byte(to.Port())}
	r.immediate(reg1, func() { r.b.Bytes(unix.NFTA_DATA_VALUE, to.Addr().AsSlice()) })
	r.immediate(reg2, func() { r.b.Bytes(unix.NFTA_DATA_VALUE, port) })
	r.expr("tproxy", func(b *netlink.Builder) {
		b.BE32(tproxyFamily, uint32(r.family))
		b.BE32(tproxyAddr, reg1)
		b.BE32(tproxyPort, reg2)
	})
}

// isFamily matches the packets of one family, once in a rule.
func (r *ruleEncoder) isFamily(v6 bool) {
	want := byte(unix.NFPROTO_IPV4)
	if v6 {
		want = unix.NFPROTO_IPV6
	}
	if r.family == want {
		return
	}
	r.family = want
	r.meta(unix.NFT_META_NFPROTO, reg1)
	r.compare(unix.NFT_CMP_EQ, []byte{want})
}

func (r *ruleEncoder) meta(key, reg uint32) {
	r.expr("meta", func(b *netlink.Builder) {
		b.BE32(unix.NFTA_META_DREG, reg)
		b.BE32(unix.NFTA_META_KEY, key)
	})
}

func (r *ruleEncoder) payload(base, offset, n, reg uint32) {
	r.expr("payload", func(b *netlink.Builder) {
		b.BE32(unix.NFTA_PAYLOAD_DREG, reg)
		b.BE32(unix.NFTA_PAYLOAD_BASE, base)
		b.BE32(unix.NFTA_PAYLOAD_OFFSET, offset)
		b.BE32(unix.NFTA_PAYLOAD_LEN, n)
	})
}

// compare compares the first register.
func (r *ruleEncoder) compare(op uint32, value []byte) {
	r.expr("cmp", func(b *netlink.Builder) {
		b.BE32(unix.NFTA_CMP_SREG, reg1)
		b.BE32(unix.NFTA_CMP_OP, op)
		r.data(unix.NFTA_CMP_DATA, value)
	})
}

func (r *ruleEncoder) verdict(code uint32, chain string) {
	r.immediate(unix.NFT_REG_VERDICT, func() {
		r.b.Nest(unix.NFTA_DATA_VERDICT, func() {
			r.b.BE32(unix.NFTA_VERDICT_CODE, code)
			if chain != "" {
				r.b.String(unix.NFTA_VERDICT_CHAIN, chain)
			}
		})
	})
}

func (r *ruleEncoder) immediate(reg uint32, value func()) {
	r.expr("immediate", func(b *netlink.Builder) {
		b.BE32(unix.NFTA_IMMEDIATE_DREG, reg)
		b.Nest(unix.NFTA_IMMEDIATE_DATA, value)
	})
}

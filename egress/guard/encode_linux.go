package guard

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

// Registers as the kernel lists them: 1 to 4 are of 16 bytes, and 8 to 23 are
// their quarters. A quarter that begins a whole one goes by that name.
const (
	reg1     = unix.NFT_REG_1
	reg2     = unix.NFT_REG_2
	regWords = unix.NFT_REG32_00
)

// wordReg is the name of the i-th four bytes of the registers.
func wordReg(i int) uint32 {
	if i%4 == 0 {
		return reg1 + uint32(i/4)
	}
	return regWords + uint32(i)
}

// Numbers of the kernel that package unix lacks.
const (
	nfProtoInet = 1

	setConcat = 0x80 // NFT_SET_CONCAT

	setDescConcat = 2 // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1 // NFTA_SET_FIELD_LEN
	setElemKeyEnd = 10

	nfAccept = 1
	nfDrop   = 0
	toGoto   = ^uint32(0) - 3 // NFT_GOTO, -4

	objCounter = 1 // NFT_OBJECT_COUNTER

	objrefType = 1 // NFTA_OBJREF_IMM_TYPE
	objrefName = 2 // NFTA_OBJREF_IMM_NAME

	hookPrerouting = 0
	hookOutput     = 3

	tproxyFamily = 1 // NFTA_TPROXY_FAMILY
	tproxyAddr   = 2 // NFTA_TPROXY_REG_ADDR
	tproxyPort   = 3 // NFTA_TPROXY_REG_PORT

	// Types that nft(8) shows the keys of a set by.
	typeAddr4, typeAddr6, typeProto, typeService = 7, 8, 12, 13
)

// elementsPerMessage keeps the list of elements below the length of an
// attribute: each takes some 140 bytes at most.
const elementsPerMessage = 400

// encode returns a batch that creates the ruleset or, if any of it is refused,
// nothing.
func encode(rs plan.Ruleset) (*netlink.Builder, error) {
	e := encoder{rs: &rs}
	e.batch(unix.NFNL_MSG_BATCH_BEGIN)
	e.object(unix.NFT_MSG_NEWTABLE, 0)
	e.b.String(unix.NFTA_TABLE_NAME, rs.Table)
	e.object(unix.NFT_MSG_NEWOBJ, 0)
	e.b.String(unix.NFTA_OBJ_TABLE, rs.Table)
	e.b.String(unix.NFTA_OBJ_NAME, plan.CounterRefused)
	e.b.BE32(unix.NFTA_OBJ_TYPE, objCounter)
	e.b.Nest(unix.NFTA_OBJ_DATA, func() {})
	for i := range rs.Sets {
		e.set(&rs.Sets[i], uint32(i+1))
	}
	for i := range rs.Chains {
		e.chain(&rs.Chains[i])
	}
	for i := range rs.Chains {
		for j := range rs.Chains[i].Rules {
			last := i == len(rs.Chains)-1 && j == len(rs.Chains[i].Rules)-1
			e.rule(&rs.Chains[i], j, last)
		}
	}
	e.batch(unix.NFNL_MSG_BATCH_END)
	return &e.b, e.err
}

type encoder struct {
	rs  *plan.Ruleset
	b   netlink.Builder
	err error
}

// batch begins or ends the transaction (struct nfgenmsg: the subsystem is in
// network byte order).
func (e *encoder) batch(typ uint16) {
	e.b.Message(typ, unix.NLM_F_REQUEST, []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES})
}

// object begins a message about an object of the table.
func (e *encoder) object(typ uint16, flags uint16) {
	e.b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|flags,
		[]byte{nfProtoInet, unix.NFNETLINK_V0, 0, 0})
}

func (e *encoder) set(s *plan.Set, id uint32) {
	addrLen, addrType := uint32(4), uint32(typeAddr4)
	if s.V6 {
		addrLen, addrType = 16, typeAddr6
	}
	e.object(unix.NFT_MSG_NEWSET, unix.NLM_F_EXCL)
	e.b.String(unix.NFTA_SET_TABLE, e.rs.Table)
	e.b.String(unix.NFTA_SET_NAME, s.Name)
	e.b.BE32(unix.NFTA_SET_FLAGS, unix.NFT_SET_CONSTANT|unix.NFT_SET_INTERVAL|setConcat)
	e.b.BE32(unix.NFTA_SET_KEY_TYPE, addrType<<12|typeProto<<6|typeService)
	e.b.BE32(unix.NFTA_SET_KEY_LEN, addrLen+8)
	e.b.BE32(unix.NFTA_SET_ID, id)
	e.b.Nest(unix.NFTA_SET_DESC, func() {
		e.b.Nest(setDescConcat, func() {
			for _, n := range []uint32{addrLen, 1, 2} {
				e.b.Nest(unix.NFTA_LIST_ELEM, func() { e.b.BE32(setFieldLen, n) })
			}
		})
	})
	for at := 0; at < len(s.Elements); at += elementsPerMessage {
		chunk := s.Elements[at:min(at+elementsPerMessage, len(s.Elements))]
		e.object(unix.NFT_MSG_NEWSETELEM, 0)
		e.b.String(unix.NFTA_SET_ELEM_LIST_TABLE, e.rs.Table)
		e.b.String(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		e.b.BE32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		e.b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
			for _, el := range chunk {
				e.b.Nest(unix.NFTA_LIST_ELEM, func() {
					e.data(unix.NFTA_SET_ELEM_KEY, setKey(el.First, el))
					e.data(setElemKeyEnd, setKey(el.Last, el))
				})
			}
		})
	}
}

// setKey is address, protocol and port, each in words of its own.
func setKey(addr netip.Addr, el plan.Element) []byte {
	key := addr.AsSlice()
	key = append(key, byte(el.Protocol), 0, 0, 0)
	return append(key, byte(el.Port>>8), byte(el.Port), 0, 0)
}

func (e *encoder) chain(c *plan.Chain) {
	e.object(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_EXCL)
	e.b.String(unix.NFTA_CHAIN_TABLE, e.rs.Table)
	e.b.String(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Hook == "" {
		return
	}
	hook := uint32(hookOutput)
	if c.Hook == plan.HookPrerouting {
		hook = hookPrerouting
	}
	e.b.Nest(unix.NFTA_CHAIN_HOOK, func() {
		e.b.BE32(unix.NFTA_HOOK_HOOKNUM, hook)
		e.b.BE32(unix.NFTA_HOOK_PRIORITY, uint32(int32(c.Priority)))
	})
	e.b.BE32(unix.NFTA_CHAIN_POLICY, nfDrop)
	e.b.String(unix.NFTA_CHAIN_TYPE, "filter")
}

func (e *encoder) rule(c *plan.Chain, i int, ack bool) {
	flags := uint16(unix.NLM_F_APPEND)
	if ack {
		flags |= unix.NLM_F_ACK
	}
	e.object(unix.NFT_MSG_NEWRULE, flags)
	e.b.String(unix.NFTA_RULE_TABLE, e.rs.Table)
	e.b.String(unix.NFTA_RULE_CHAIN, c.Name)
	e.b.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
		r := ruleEncoder{encoder: e}
		for _, s := range c.Rules[i] {
			if err := r.statement(s); err != nil && e.err == nil {
				e.err = fmt.Errorf("rule %d of chain %s: %w", i, c.Name, err)
			}
		}
	})
}

// data appends a value as nftables wraps it.
func (e *encoder) data(typ uint16, value []byte) {
	e.b.Nest(typ, func() { e.b.Bytes(unix.NFTA_DATA_VALUE, value) })
}

// expr appends one expression to the rule.
func (e *encoder) expr(name string, attrs func(b *netlink.Builder)) {
	e.b.Nest(unix.NFTA_LIST_ELEM, func() {
		e.b.String(unix.NFTA_EXPR_NAME, name)
		e.b.Nest(unix.NFTA_EXPR_DATA, func() { attrs(&e.b) })
	})
}

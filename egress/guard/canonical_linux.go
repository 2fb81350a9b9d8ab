package guard

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
)

// genLen is the length of struct nfgenmsg.
const genLen = 4

var be = binary.BigEndian

// A listing is a firewall in a canonical form: the same for what is sent and
// for what the kernel lists of it, and different for any other rules. The
// kernel adds handles and counts, leaves out what is zero and has its own
// order of elements; none of that is part of it.
type listing struct {
	objects []string // tables, counters, chains
	sets    []setName
	keys    []string // of sets, and their elements
	rules   []string // in order
}

type setName struct {
	family      byte
	table, name string
}

func (l *listing) text() string {
	slices.Sort(l.objects)
	slices.Sort(l.keys)
	return strings.Join(slices.Concat(l.objects, l.keys, l.rules), "\n")
}

// add takes in one message: that an object is to be created, or that it is
// there.
func (l *listing) add(m netlink.Message) error {
	if len(m.Data) < genLen {
		return netlink.ErrMessage
	}
	family, attrs := m.Data[0], m.Data[genLen:]
	str := func(typ uint16) string { return text(netlink.Attr(attrs, typ)) }
	switch m.Type & 0xff {
	case unix.NFT_MSG_NEWTABLE:
		l.objects = append(l.objects, fmt.Sprintf("table %d %s flags=%s", family, str(unix.NFTA_TABLE_NAME),
			number(attrs, unix.NFTA_TABLE_FLAGS)))
	case unix.NFT_MSG_NEWOBJ:
		l.objects = append(l.objects, fmt.Sprintf("object %d %s %s type=%s", family, str(unix.NFTA_OBJ_TABLE),
			str(unix.NFTA_OBJ_NAME), number(attrs, unix.NFTA_OBJ_TYPE)))
	case unix.NFT_MSG_NEWCHAIN:
		hook := netlink.Attr(attrs, unix.NFTA_CHAIN_HOOK)
		l.objects = append(l.objects, fmt.Sprintf("chain %d %s %s type=%s hook=%s priority=%s policy=%s", family,
			str(unix.NFTA_CHAIN_TABLE), str(unix.NFTA_CHAIN_NAME), str(unix.NFTA_CHAIN_TYPE),
			number(hook, unix.NFTA_HOOK_HOOKNUM), number(hook, unix.NFTA_HOOK_PRIORITY), number(attrs, unix.NFTA_CHAIN_POLICY)))
	case unix.NFT_MSG_NEWSET:
		s := setName{family, str(unix.NFTA_SET_TABLE), str(unix.NFTA_SET_NAME)}
		l.sets = append(l.sets, s)
		l.keys = append(l.keys, fmt.Sprintf("set %d %s %s %s", family, s.table, s.name, setAttrs(attrs)))
	case unix.NFT_MSG_NEWSETELEM:
		prefix := fmt.Sprintf("element %d %s %s ", family, str(unix.NFTA_SET_ELEM_LIST_TABLE), str(unix.NFTA_SET_ELEM_LIST_SET))
		for _, el := range netlink.Attrs(netlink.Attr(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			l.keys = append(l.keys, prefix+elementAttrs(el))
		}
	case unix.NFT_MSG_NEWRULE:
		l.rules = append(l.rules, fmt.Sprintf("rule %d %s %s%s", family, str(unix.NFTA_RULE_TABLE), str(unix.NFTA_RULE_CHAIN),
			expressions(netlink.Attr(attrs, unix.NFTA_RULE_EXPRESSIONS))))
	default:
		return fmt.Errorf("the kernel lists an object of unknown type %#x", m.Type)
	}
	return nil
}

// setAttrs are the attributes that give a set its meaning. Later kernels list
// further ones, which describe how it is stored.
func setAttrs(attrs []byte) string {
	var b strings.Builder
	for typ := uint16(unix.NFTA_SET_FLAGS); typ <= unix.NFTA_SET_OBJ_TYPE; typ++ {
		switch typ {
		case unix.NFTA_SET_ID, unix.NFTA_SET_PAD, unix.NFTA_SET_USERDATA:
			continue
		case unix.NFTA_SET_DESC:
			fmt.Fprintf(&b, " fields=")
			for _, field := range netlink.Attrs(netlink.Attr(netlink.Attr(attrs, typ), setDescConcat)) {
				fmt.Fprintf(&b, "%s,", number(field, setFieldLen))
			}
			continue
		}
		if v := netlink.Attr(attrs, typ); !zero(v) {
			fmt.Fprintf(&b, " %d=%x", typ, v)
		}
	}
	return b.String()
}

func elementAttrs(el []byte) string {
	value := func(typ uint16) string {
		return hex.EncodeToString(netlink.Attr(netlink.Attr(el, typ), unix.NFTA_DATA_VALUE))
	}
	return fmt.Sprintf("%s-%s flags=%s timeout=%x", value(unix.NFTA_SET_ELEM_KEY), value(setElemKeyEnd),
		number(el, unix.NFTA_SET_ELEM_FLAGS), netlink.Attr(el, unix.NFTA_SET_ELEM_TIMEOUT))
}

// nested are the attributes of expressions that consist of attributes.
var nested = map[string][]uint16{
	"cmp":       {unix.NFTA_CMP_DATA},
	"immediate": {unix.NFTA_IMMEDIATE_DATA},
	"bitwise":   {unix.NFTA_BITWISE_MASK, unix.NFTA_BITWISE_XOR},
}

// expressions writes every attribute that is not zero, in the order of their
// types; that of a lookup's set in the transaction goes by its name as well.
func expressions(list []byte) string {
	var b strings.Builder
	for _, e := range netlink.Attrs(list) {
		name := text(netlink.Attr(e, unix.NFTA_EXPR_NAME))
		fmt.Fprintf(&b, " [%s", name)
		var attrs []string
		for typ, v := range netlink.Attrs(netlink.Attr(e, unix.NFTA_EXPR_DATA)) {
			switch {
			case slices.Contains(nested[name], typ):
				attrs = append(attrs, fmt.Sprintf("%02d=%s", typ, data(v)))
			case zero(v), name == "lookup" && typ == unix.NFTA_LOOKUP_SET_ID:
			default:
				attrs = append(attrs, fmt.Sprintf("%02d=%x", typ, v))
			}
		}
		slices.Sort(attrs)
		for _, a := range attrs {
			b.WriteString(" " + a)
		}
		b.WriteString("]")
	}
	return b.String()
}

// data writes a value, or a verdict.
func data(v []byte) string {
	if verdict := netlink.Attr(v, unix.NFTA_DATA_VERDICT); verdict != nil {
		return fmt.Sprintf("verdict %s %s", number(verdict, unix.NFTA_VERDICT_CODE), text(netlink.Attr(verdict, unix.NFTA_VERDICT_CHAIN)))
	}
	return fmt.Sprintf("%x", netlink.Attr(v, unix.NFTA_DATA_VALUE))
}

func zero(v []byte) bool {
	return !slices.ContainsFunc(v, func(b byte) bool { return b != 0 })
}

// text is an attribute that ends in a zero byte.
func text(v []byte) string { return strings.TrimRight(string(v), "\x00") }

// number is an attribute of 32 bits in network byte order, 0 if absent.
func number(attrs []byte, typ uint16) string {
	v := netlink.Attr(attrs, typ)
	if v == nil {
		return "0"
	}
	if len(v) != 4 {
		return hex.EncodeToString(v)
	}
	return fmt.Sprint(int32(be.Uint32(v)))
}

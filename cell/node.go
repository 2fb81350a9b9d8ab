package cell

import (
	"cmp"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxBytes is the size up to which a document is read.
const MaxBytes = 1 << 20

// maxDepth is how deeply lists and objects may nest. The deepest field of the
// contract lies at 7.
const maxDepth = 32

const ruleDepth = "lists and objects nest deeper than 32 levels"

// maxValues is how many values a document may hold: it bounds the memory that
// the tree takes to some ten times the largest document.
const (
	maxValues  = 1 << 16
	ruleValues = "a document has at most 65536 values"
)

// maxInteger is the largest integer that every JSON reader holds exactly
// (RFC 8259, section 6).
const maxInteger = 1<<53 - 1

// pos is a place in the source, from 1, col in characters.
type pos struct{ line, col int32 }

// kind is the type of a node.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "true or false", "a number", "a text", "a list", "an object"}[k]
}

// A node is one value of a document as it was written. Both syntaxes become
// the same tree, so that one decoder and one hash serve them.
type node struct {
	kind kind
	// text is what a text means, and how a number or a boolean is written.
	text   string
	at     pos
	items  []*node
	fields []field
}

// A field is one member of an object, in the order of the source. Duplicates
// are kept: the decoder reports them.
type field struct {
	name  string
	at    pos
	value *node
}

// get returns the value of a member, or nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// find returns the node at a rendered path, and the deepest one on the way to
// it that exists.
func (n *node) find(where string) (found, nearest *node) {
	nearest = n
	for where != "" {
		s, rest, ok := cutStep(where)
		if !ok {
			return nil, nearest
		}
		var next *node
		if s.step != stepIndex {
			next = nearest.get(s.name)
		} else if s.index >= 0 && s.index < len(nearest.items) {
			next = nearest.items[s.index]
		}
		if next == nil {
			return nil, nearest
		}
		nearest, where = next, rest
	}
	return nearest, nearest
}

// shown is how an error shows n.
func (n *node) shown() string {
	switch n.kind {
	case kindText:
		return quote(n.text)
	case kindNumber:
		if len(n.text) > maxShown {
			return n.text[:maxShown] + "…"
		}
		return n.text
	case kindBool:
		return n.text
	case kindList:
		if len(n.items) == 0 {
			return "[]"
		}
	case kindObject:
		if len(n.fields) == 0 {
			return "{}"
		}
	}
	return n.kind.String()
}

// integer returns the value of a number that is written as a plain decimal
// integer of magnitude at most maxInteger, or the rule that it breaks.
func (n *node) integer() (v int64, rule string) {
	digits := n.text
	if digits != "" && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || len(digits) > 1 && digits[0] == '0' {
		return 0, ruleInteger
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, ruleInteger
		}
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || v > maxInteger || v < -maxInteger {
		return 0, "must be below 2^53 (9007199254740992)"
	}
	return v, ""
}

const ruleInteger = "must be an integer in plain decimal digits"

// appendJCS appends the canonical form of n (RFC 8785). Numbers are integers
// below 2^53 in a valid document, whose canonical form is their digits.
func (n *node) appendJCS(b []byte) []byte {
	switch n.kind {
	case kindNumber:
		v, _ := n.integer()
		return strconv.AppendInt(b, v, 10)
	case kindText:
		return appendJCSString(b, n.text)
	case kindList:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendJCS(b)
		}
		return append(b, ']')
	case kindObject:
		fields := slices.Clone(n.fields)
		slices.SortFunc(fields, func(a, b field) int { return compareUTF16(a.name, b.name) })
		b = append(b, '{')
		for i, f := range fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJCSString(b, f.name), ':')
			b = f.value.appendJCS(b)
		}
		return append(b, '}')
	case kindBool:
		return append(b, n.text...)
	}
	return append(b, "null"...)
}

// compareUTF16 orders as RFC 8785, section 3.2.3 asks: by UTF-16 code units.
// It differs from the order of the bytes only above U+FFFF.
func compareUTF16(a, b string) int {
	for a != "" && b != "" {
		ra, na := utf8.DecodeRuneInString(a)
		rb, nb := utf8.DecodeRuneInString(b)
		if ra != rb {
			return slices.Compare(utf16.AppendRune(nil, ra), utf16.AppendRune(nil, rb))
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

// appendJCSString appends s as RFC 8785, section 3.2.2.2 writes it.
func appendJCSString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, `\b`...)
		case '\t':
			b = append(b, `\t`...)
		case '\n':
			b = append(b, `\n`...)
		case '\f':
			b = append(b, `\f`...)
		case '\r':
			b = append(b, `\r`...)
		default:
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}

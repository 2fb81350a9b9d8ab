package event

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of what Canonical reads.
const maxDepth = 64

// maxSafeInteger is the largest integer that every JSON reader gets right
// (RFC 8259 section 6).
const maxSafeInteger = 1<<53 - 1

// Canonical appends to dst the canonical form of the JSON text src (RFC 8785).
// It accepts exactly RFC 8259 and refuses what has no canonical form or more
// than one meaning: invalid UTF-8, lone surrogates, numbers out of range and
// duplicate names.
func Canonical(dst, src []byte) ([]byte, error) {
	c := canonicalizer{src: src, out: dst}
	if err := c.document(); err != nil {
		return dst, err
	}
	return c.out, nil
}

// A canonicalizer rewrites src to out in one pass. Objects whose members are
// not in order are sorted in place when they end.
type canonicalizer struct {
	src   []byte
	pos   int
	out   []byte
	depth int
	// exact refuses integers of 2^53 and more instead of rounding them.
	exact bool

	members []member // of all objects that are open
	scratch []byte
}

// A member is a range of out, "name":value.
type member struct {
	start, nameEnd, end int
	escaped             string // the name itself if its spelling differs
	isEscaped           bool
}

func (c *canonicalizer) errorf(format string, args ...any) error {
	return fmt.Errorf("JSON, offset %d: %s", c.pos, fmt.Sprintf(format, args...))
}

func (c *canonicalizer) document() error {
	c.space()
	if err := c.value(); err != nil {
		return err
	}
	c.space()
	if c.pos != len(c.src) {
		return c.errorf("text after the value")
	}
	return nil
}

func (c *canonicalizer) space() {
	for c.pos < len(c.src) {
		switch c.src[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end (which no rule of the grammar expects).
func (c *canonicalizer) peek() byte {
	if c.pos < len(c.src) {
		return c.src[c.pos]
	}
	return 0
}

func (c *canonicalizer) value() error {
	switch b := c.peek(); {
	case b == '{':
		return c.nested(c.object)
	case b == '[':
		return c.nested(c.array)
	case b == '"':
		_, err := c.text()
		return err
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	}
	for _, literal := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(c.src[c.pos:], []byte(literal)) {
			c.pos += len(literal)
			c.out = append(c.out, literal...)
			return nil
		}
	}
	if c.pos == len(c.src) {
		return c.errorf("unexpected end")
	}
	return c.errorf("unexpected %q", c.src[c.pos])
}

func (c *canonicalizer) nested(read func() error) error {
	if c.depth++; c.depth > maxDepth {
		return c.errorf("nested deeper than %d", maxDepth)
	}
	err := read()
	c.depth--
	return err
}

func (c *canonicalizer) array() error {
	c.pos++
	c.out = append(c.out, '[')
	c.space()
	if c.peek() == ']' {
		c.pos++
		c.out = append(c.out, ']')
		return nil
	}
	for {
		c.space()
		if err := c.value(); err != nil {
			return err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.pos++
			c.out = append(c.out, ',')
		case ']':
			c.pos++
			c.out = append(c.out, ']')
			return nil
		default:
			return c.errorf("want ',' or ']'")
		}
	}
}

func (c *canonicalizer) object() error {
	c.pos++
	c.out = append(c.out, '{')
	first := len(c.members)
	body := len(c.out)
	sorted := true
	c.space()
	if c.peek() == '}' {
		c.pos++
		c.out = append(c.out, '}')
		return nil
	}
	for {
		m, err := c.member()
		if err != nil {
			return err
		}
		if n := len(c.members); n > first && c.compare(c.members[n-1], m) >= 0 {
			sorted = false
		}
		c.members = append(c.members, m)
		c.space()
		b := c.peek()
		if b == ',' {
			c.pos++
			c.out = append(c.out, ',')
			continue
		}
		if b != '}' {
			return c.errorf("want ',' or '}'")
		}
		c.pos++
		if !sorted {
			if err := c.sort(c.members[first:], body); err != nil {
				return err
			}
		}
		c.members = c.members[:first]
		c.out = append(c.out, '}')
		return nil
	}
}

func (c *canonicalizer) member() (member, error) {
	c.space()
	if c.peek() != '"' {
		return member{}, c.errorf("want a name in quotes")
	}
	m := member{start: len(c.out)}
	escaped, err := c.text()
	if err != nil {
		return m, err
	}
	m.nameEnd = len(c.out)
	if escaped {
		m.isEscaped = true
		m.escaped = unescape(c.out[m.start:m.nameEnd])
	}
	c.space()
	if c.peek() != ':' {
		return m, c.errorf("want ':'")
	}
	c.pos++
	c.out = append(c.out, ':')
	c.space()
	err = c.value()
	m.end = len(c.out)
	return m, err
}

// sort puts the members of the object whose body begins at body in order.
func (c *canonicalizer) sort(members []member, body int) error {
	slices.SortFunc(members, c.compare)
	c.scratch = c.scratch[:0]
	for i, m := range members {
		if i > 0 {
			if c.compare(members[i-1], m) == 0 {
				return c.errorf("duplicate name %.64q", c.out[m.start+1:m.nameEnd-1])
			}
			c.scratch = append(c.scratch, ',')
		}
		c.scratch = append(c.scratch, c.out[m.start:m.end]...)
	}
	copy(c.out[body:], c.scratch)
	return nil
}

// compare orders names by their UTF-16 code units (RFC 8785 section 3.2.3).
func (c *canonicalizer) compare(a, b member) int {
	if a.isEscaped || b.isEscaped {
		return compareUTF16([]byte(c.name(a)), []byte(c.name(b)))
	}
	return compareUTF16(c.out[a.start+1:a.nameEnd-1], c.out[b.start+1:b.nameEnd-1])
}

func (c *canonicalizer) name(m member) string {
	if m.isEscaped {
		return m.escaped
	}
	return string(c.out[m.start+1 : m.nameEnd-1])
}

// compareUTF16 compares two UTF-8 texts as if they were UTF-16. The two orders
// differ only where one text has a character above U+FFFF, whose surrogates
// sort below U+E000.
func compareUTF16(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	if n == len(a) || n == len(b) {
		return len(a) - len(b)
	}
	if a[n] < 0xee && b[n] < 0xee {
		return int(a[n]) - int(b[n])
	}
	// Both texts agree up to n, so the start of a character there is common.
	for n > 0 && !utf8.RuneStart(a[n]) {
		n--
	}
	ra, _ := utf8.DecodeRune(a[n:])
	rb, _ := utf8.DecodeRune(b[n:])
	return firstUnit(ra) - firstUnit(rb)
}

// firstUnit orders like the UTF-16 code units of r, and tells apart two
// characters with the same high surrogate.
func firstUnit(r rune) int {
	if r < 0x10000 {
		return int(r) << 16
	}
	high, low := utf16.EncodeRune(r)
	return int(high)<<16 | int(low)
}

// text rewrites a string and reports whether its canonical spelling has
// escapes.
func (c *canonicalizer) text() (escaped bool, err error) {
	c.pos++
	c.out = append(c.out, '"')
	for {
		start := c.pos
		for c.pos < len(c.src) {
			b := c.src[c.pos]
			if b == '"' || b == '\\' || b < ' ' || b >= utf8.RuneSelf {
				break
			}
			c.pos++
		}
		c.out = append(c.out, c.src[start:c.pos]...)
		if c.pos == len(c.src) {
			return false, c.errorf("unexpected end in a string")
		}
		switch b := c.src[c.pos]; {
		case b == '"':
			c.pos++
			c.out = append(c.out, '"')
			return escaped, nil
		case b < ' ':
			return false, c.errorf("control character in a string")
		case b == '\\':
			r, err := c.escape()
			if err != nil {
				return false, err
			}
			n := len(c.out)
			c.out = appendRune(c.out, r)
			escaped = escaped || c.out[n] == '\\'
		default:
			r, size := utf8.DecodeRune(c.src[c.pos:])
			if r == utf8.RuneError && size == 1 {
				return false, c.errorf("invalid UTF-8 in a string")
			}
			c.out = append(c.out, c.src[c.pos:c.pos+size]...)
			c.pos += size
		}
	}
}

// escape reads the escape sequence at pos.
func (c *canonicalizer) escape() (rune, error) {
	if c.pos+1 >= len(c.src) {
		return 0, c.errorf("unexpected end in a string")
	}
	b := c.src[c.pos+1]
	if b == 'u' {
		r, err := c.unit()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		low, err := c.unit()
		if err != nil {
			return 0, c.errorf("lone surrogate in a string")
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return 0, c.errorf("lone surrogate in a string")
		}
		return r, nil
	}
	i := bytes.IndexByte([]byte(`"\/bfnrt`), b)
	if i < 0 {
		return 0, c.errorf("unknown escape in a string")
	}
	c.pos += 2
	return rune("\"\\/\b\f\n\r\t"[i]), nil
}

// unit reads \uXXXX.
func (c *canonicalizer) unit() (rune, error) {
	if c.pos+6 > len(c.src) || c.src[c.pos] != '\\' || c.src[c.pos+1] != 'u' {
		return 0, c.errorf("want \\uXXXX")
	}
	var r rune
	for _, b := range c.src[c.pos+2 : c.pos+6] {
		switch {
		case b >= '0' && b <= '9':
			r = r<<4 | rune(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			r = r<<4 | rune(b|0x20-'a'+10)
		default:
			return 0, c.errorf("want \\uXXXX")
		}
	}
	c.pos += 6
	return r, nil
}

// appendText appends s as a canonical JSON string. Bytes that are not UTF-8
// become U+FFFD.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		dst = appendRune(dst, r)
	}
	return append(dst, '"')
}

// appendRune spells r as RFC 8785 section 3.2.2.2 says.
func appendRune(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if r < ' ' {
		const digits = "0123456789abcdef"
		return append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// unescape is the text of a canonical JSON string.
func unescape(quoted []byte) string {
	s := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s)
	}
	c := canonicalizer{src: s}
	out := make([]byte, 0, len(s))
	for c.pos < len(s) {
		if s[c.pos] != '\\' {
			out = append(out, s[c.pos])
			c.pos++
			continue
		}
		r, err := c.escape()
		if err != nil {
			return string(out) // not a canonical string
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

var errNumber = errors.New("number out of range")

// number rewrites a number as ECMAScript prints it (RFC 8785 section 3.2.2.3).
func (c *canonicalizer) number() error {
	start := c.pos
	integer, ok := c.scanNumber()
	if !ok {
		return c.errorf("malformed number")
	}
	token := c.src[start:c.pos]
	// An integer of up to 15 digits is its own canonical form.
	if integer && len(token) <= 15 && token[0] != '-' {
		c.out = append(c.out, token...)
		return nil
	}
	f, err := strconv.ParseFloat(string(token), 64)
	if err != nil {
		return c.errorf("%v", errNumber)
	}
	if c.exact && integer && math.Abs(f) > maxSafeInteger {
		return c.errorf("%v: an integer must be below 2^53", errNumber)
	}
	c.out = appendFloat(c.out, f)
	return nil
}

// scanNumber moves over a number of RFC 8259 section 6.
func (c *canonicalizer) scanNumber() (integer, ok bool) {
	digits := func() bool {
		start := c.pos
		for c.pos < len(c.src) && c.src[c.pos] >= '0' && c.src[c.pos] <= '9' {
			c.pos++
		}
		return c.pos > start
	}
	if c.peek() == '-' {
		c.pos++
	}
	if c.peek() == '0' {
		c.pos++
	} else if !digits() {
		return false, false
	}
	integer = true
	if c.peek() == '.' {
		integer = false
		c.pos++
		if !digits() {
			return false, false
		}
	}
	if b := c.peek(); b == 'e' || b == 'E' {
		integer = false
		c.pos++
		if b := c.peek(); b == '+' || b == '-' {
			c.pos++
		}
		if !digits() {
			return false, false
		}
	}
	if b := c.peek(); b >= '0' && b <= '9' {
		return false, false // a leading zero
	}
	return integer, true
}

func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // also -0
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// ECMAScript has no leading zero in the exponent: e-07 is e-7.
	if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// eachMember calls visit with the name and the value of every member of the
// canonical object doc, and with their range in it. It stops when visit does.
func eachMember(doc []byte, visit func(name, value []byte, start, end int) bool) {
	pos := 1
	for pos < len(doc) && doc[pos] == '"' {
		start := pos
		nameEnd := skipText(doc, pos)
		end := skipValue(doc, nameEnd+1)
		if !visit(doc[start+1:nameEnd-1], doc[nameEnd+1:end], start, end) {
			return
		}
		pos = end + 1
	}
}

// skipText returns the position after the string that begins at pos.
func skipText(doc []byte, pos int) int {
	for pos++; doc[pos] != '"'; pos++ {
		if doc[pos] == '\\' {
			pos++
		}
	}
	return pos + 1
}

// skipValue returns the position after the value that begins at pos.
func skipValue(doc []byte, pos int) int {
	depth := 0
	for pos < len(doc) {
		switch doc[pos] {
		case '"':
			pos = skipText(doc, pos)
			if depth == 0 {
				return pos
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return pos
			}
			if depth--; depth == 0 {
				return pos + 1
			}
		case ',':
			if depth == 0 {
				return pos
			}
		}
		pos++
	}
	return pos
}

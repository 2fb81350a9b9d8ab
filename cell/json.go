package cell

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonReader reads RFC 8259 text strictly into nodes. It allocates in
// proportion to its input and recurses to maxDepth only.
type jsonReader struct {
	src string
	off int
	cursor
}

// cursor turns byte offsets into places, and counts values. As long as the
// offsets rise, each character is looked at once.
type cursor struct {
	last   int // offset that here stands for
	here   pos
	values int
}

// full counts one more value and reports whether it is one too many.
func (c *cursor) full() bool {
	c.values++
	return c.values > maxValues
}

func (c *cursor) place(src string, off int) pos {
	if c.here.line == 0 || off < c.last {
		c.last, c.here = 0, pos{1, 1}
	}
	for c.last < off {
		if src[c.last] == '\n' {
			c.here.line++
			c.here.col = 1
			c.last++
			continue
		}
		_, n := utf8.DecodeRuneInString(src[c.last:])
		c.last += n
		c.here.col++
	}
	return c.here
}

// readJSON reads exactly one JSON value.
func readJSON(src string) (*node, error) {
	r := &jsonReader{src: src}
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	r.space()
	if r.off < len(r.src) {
		return nil, r.fail("there is more text after the end of the document; one file holds one document")
	}
	return n, nil
}

func (r *jsonReader) fail(rule string) error {
	return &syntaxError{at: r.place(r.src, min(r.off, len(r.src))), rule: rule}
}

func (r *jsonReader) space() {
	for r.off < len(r.src) {
		switch r.src[r.off] {
		case ' ', '\t', '\n', '\r':
			r.off++
		default:
			return
		}
	}
}

// peek returns the next byte after white space, or 0 at the end.
func (r *jsonReader) peek() byte {
	r.space()
	if r.off < len(r.src) {
		return r.src[r.off]
	}
	return 0
}

func (r *jsonReader) value(depth int) (*node, error) {
	c := r.peek()
	n := &node{at: r.place(r.src, r.off)}
	var err error
	switch {
	case r.full():
		err = r.fail(ruleValues)
	case depth > maxDepth && (c == '{' || c == '['):
		err = r.fail(ruleDepth)
	case c == '{':
		n.kind = kindObject
		err = r.object(n, depth)
	case c == '[':
		n.kind = kindList
		err = r.list(n, depth)
	case c == '"':
		n.kind = kindText
		n.text, err = r.text()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = kindNumber
		n.text, err = r.number()
	default:
		err = r.word(n)
	}
	return n, err
}

func (r *jsonReader) word(n *node) error {
	for _, w := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(r.src[r.off:], w) {
			r.off += len(w)
			n.kind, n.text = kindBool, w
			if w == "null" {
				n.kind, n.text = kindNull, ""
			}
			return nil
		}
	}
	if r.off == len(r.src) {
		return r.fail("the document ends where a value is expected")
	}
	return r.fail(unexpected(r.src[r.off:], "a JSON value"))
}

func (r *jsonReader) object(n *node, depth int) error {
	r.off++ // {
	if r.peek() == '}' {
		r.off++
		return nil
	}
	for {
		if r.peek() != '"' {
			return r.fail(unexpected(r.src[r.off:], "a field name in double quotes"))
		}
		f := field{at: r.place(r.src, r.off)}
		var err error
		if f.name, err = r.text(); err != nil {
			return err
		}
		if r.peek() != ':' {
			return r.fail(unexpected(r.src[r.off:], `":"`))
		}
		r.off++
		if f.value, err = r.value(depth + 1); err != nil {
			return err
		}
		n.fields = append(n.fields, f)
		switch r.peek() {
		case ',':
			r.off++
		case '}':
			r.off++
			return nil
		default:
			return r.fail(unexpected(r.src[r.off:], `"," or "}"`))
		}
	}
}

func (r *jsonReader) list(n *node, depth int) error {
	r.off++ // [
	if r.peek() == ']' {
		r.off++
		return nil
	}
	for {
		item, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		switch r.peek() {
		case ',':
			r.off++
		case ']':
			r.off++
			return nil
		default:
			return r.fail(unexpected(r.src[r.off:], `"," or "]"`))
		}
	}
}

// number reads the grammar of RFC 8259, section 6.
func (r *jsonReader) number() (string, error) {
	start := r.off
	digits := func() bool {
		from := r.off
		for r.off < len(r.src) && r.src[r.off] >= '0' && r.src[r.off] <= '9' {
			r.off++
		}
		return r.off > from
	}
	accept := func(set string) bool {
		if r.off < len(r.src) && strings.IndexByte(set, r.src[r.off]) >= 0 {
			r.off++
			return true
		}
		return false
	}
	accept("-")
	ok := accept("0") || digits()
	if ok && accept(".") {
		ok = digits()
	}
	if ok && accept("eE") {
		accept("+-")
		ok = digits()
	}
	if !ok || accept("0123456789") {
		return "", r.fail("this is not a JSON number")
	}
	return r.src[start:r.off], nil
}

// text reads a string, the opening quote at r.off.
func (r *jsonReader) text() (string, error) {
	r.off++
	start := r.off
	var b []byte // nil while the text is its own source
	for r.off < len(r.src) {
		switch c := r.src[r.off]; {
		case c == '"':
			s := r.src[start:r.off]
			r.off++
			return string(b) + s, nil
		case c < 0x20:
			return "", r.fail("control characters in a JSON string must be escaped")
		case c == '\\':
			b = append(b, r.src[start:r.off]...)
			decoded, err := r.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, decoded)
			start = r.off
		default:
			r.off++
		}
	}
	return "", r.fail("this JSON string has no end")
}

// escape reads one escape, or the two of a surrogate pair.
func (r *jsonReader) escape() (rune, error) {
	const letters, meanings = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if r.off+1 < len(r.src) {
		if i := strings.IndexByte(letters, r.src[r.off+1]); i >= 0 {
			r.off += 2
			return rune(meanings[i]), nil
		}
	}
	v, ok := hexEscape(r.src[r.off:])
	if !ok {
		return 0, r.fail("this is not a JSON escape")
	}
	if !utf16.IsSurrogate(v) {
		r.off += 6
		return v, nil
	}
	low, ok := hexEscape(r.src[r.off+6:])
	v = utf16.DecodeRune(v, low)
	if !ok || v == utf8.RuneError {
		return 0, r.fail("half of a surrogate pair is not a character")
	}
	r.off += 12
	return v, nil
}

// hexEscape decodes the \uXXXX that s starts with.
func hexEscape(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(v), err == nil
}

// unexpected says what stands where something else is needed.
func unexpected(rest, need string) string {
	if rest == "" {
		return "the document ends where " + need + " is expected"
	}
	_, n := utf8.DecodeRuneInString(rest)
	return "found " + quote(rest[:n]) + " where " + need + " is expected"
}

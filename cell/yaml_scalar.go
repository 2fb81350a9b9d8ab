package cell

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A scalar is one YAML scalar before its type is known.
type scalar struct {
	text  string
	plain bool // unquoted: the core schema decides its type
}

func (s scalar) into(n *node) {
	n.kind, n.text = kindText, s.text
	if s.plain {
		n.kind = resolve(s.text)
	}
	switch n.kind {
	case kindBool:
		n.text = strings.ToLower(s.text)
	case kindNull:
		n.text = ""
	}
}

// resolve gives the type of a plain scalar (YAML 1.2.2, section 10.3.2).
func resolve(s string) kind {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return kindNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return kindBool
	}
	if isYAMLNumber(s) {
		return kindNumber
	}
	return kindText
}

func isYAMLNumber(s string) bool {
	only := func(s, set string) bool { return s != "" && strings.Trim(s, set) == "" }
	if rest, ok := strings.CutPrefix(s, "0o"); ok {
		return only(rest, "01234567")
	}
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return only(rest, "0123456789abcdefABCDEF")
	}
	switch s {
	case ".nan", ".NaN", ".NAN":
		return true
	}
	if s[0] == '-' || s[0] == '+' {
		s = s[1:]
	}
	switch s {
	case ".inf", ".Inf", ".INF":
		return true
	}
	digits := func() int {
		rest := strings.TrimLeft(s, "0123456789")
		n := len(s) - len(rest)
		s = rest
		return n
	}
	whole, fraction := digits(), 0
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		fraction = digits()
	}
	if whole+fraction == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '-' || s[0] == '+') {
			s = s[1:]
		}
		return digits() > 0 && s == ""
	}
	return s == ""
}

// scalarLine reads a quoted scalar, or the first line of a plain one.
func (r *yamlReader) scalarLine(indent int, flow bool) (scalar, error) {
	switch c := r.src[r.off]; c {
	case '"':
		s, err := r.doubleQuoted(indent)
		return scalar{text: s}, err
	case '\'':
		s, err := r.singleQuoted(indent)
		return scalar{text: s}, err
	case '&':
		return scalar{}, r.fail("YAML anchors are not allowed")
	case '*':
		return scalar{}, r.fail(`YAML aliases are not allowed; quote the text if it starts with "*"`)
	case '!':
		return scalar{}, r.fail("YAML tags are not allowed")
	case '%', '@', '`', '|', '>', '#', ',', '[', ']', '{', '}':
		return scalar{}, r.fail("a plain text cannot start with " + quote(string(c)) + "; quote it")
	case '-', '?', ':':
		if r.blank(r.off+1) || flow && isFlowIndicator(r.src[r.off+1]) {
			if c == '?' {
				return scalar{}, r.fail(`YAML complex keys ("? ") are not allowed`)
			}
			return scalar{}, r.fail(unexpected(r.src[r.off:], "a value"))
		}
	}
	return scalar{text: r.plainLine(flow), plain: true}, nil
}

// plainLine reads what belongs to a plain scalar on this line, without the
// white space at its end.
func (r *yamlReader) plainLine(flow bool) string {
	start, end := r.off, r.off
	for r.off < len(r.src) {
		c := r.src[r.off]
		if c == '\n' || r.colon(r.off, flow) || flow && isFlowIndicator(c) ||
			c == '#' && r.off > start && r.blank(r.off-1) {
			break
		}
		r.off++
		if c != ' ' && c != '\t' {
			end = r.off
		}
	}
	r.off = end
	return r.src[start:end]
}

// continuePlain appends the further lines of a plain scalar. One line break
// becomes a space, more become one less.
func (r *yamlReader) continuePlain(first string, indent int, flow bool) string {
	b := []byte(nil)
	for {
		resume := r.off
		r.inline()
		if r.off >= len(r.src) || r.src[r.off] != '\n' {
			r.off = resume
			break
		}
		breaks, spaces := r.breaks()
		if r.ended() || spaces <= indent || r.ahead("#") || r.colon(r.off, flow) ||
			flow && isFlowIndicator(r.src[r.off]) {
			r.off = resume
			break
		}
		if b == nil {
			b = append(b, first...)
		}
		b = appendFold(b, breaks)
		b = append(b, r.plainLine(flow)...)
	}
	if b == nil {
		return first
	}
	return string(b)
}

// breaks moves over line breaks and the white space around them. It returns
// how many there were and by how many spaces the next line is indented.
func (r *yamlReader) breaks() (breaks, spaces int) {
	for r.off < len(r.src) {
		switch r.src[r.off] {
		case '\n':
			breaks++
			spaces = 0
			r.off++
			line := r.src[r.off:]
			spaces = len(line) - len(strings.TrimLeft(line, " "))
			r.off += spaces
		case ' ', '\t':
			r.off++
		default:
			return breaks, spaces
		}
	}
	return breaks, spaces
}

func appendFold(b []byte, breaks int) []byte {
	if breaks == 1 {
		return append(b, ' ')
	}
	for range breaks - 1 {
		b = append(b, '\n')
	}
	return b
}

const ruleQuoteEnd = "this quoted text has no end"

// quotedBreak appends what the line break at r.off, and those after it, mean
// inside quotes. White space around them is dropped, except what stands before
// b[kept].
func (r *yamlReader) quotedBreak(b []byte, kept, indent int) ([]byte, error) {
	for len(b) > kept && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	breaks, err := r.quotedBreaks(indent)
	return appendFold(b, breaks), err
}

func (r *yamlReader) quotedBreaks(indent int) (int, error) {
	breaks, spaces := r.breaks()
	if r.off >= len(r.src) {
		return breaks, r.fail(ruleQuoteEnd)
	}
	if r.marker("---") || r.marker("...") || spaces <= indent {
		return breaks, r.fail("the lines of a quoted text must be indented deeper than what it belongs to")
	}
	return breaks, nil
}

func (r *yamlReader) singleQuoted(indent int) (string, error) {
	r.off++
	var b []byte
	for r.off < len(r.src) {
		switch c := r.src[r.off]; {
		case c == '\'' && strings.HasPrefix(r.src[r.off+1:], "'"):
			b = append(b, '\'')
			r.off += 2
		case c == '\'':
			r.off++
			return string(b), nil
		case c == '\n':
			var err error
			if b, err = r.quotedBreak(b, 0, indent); err != nil {
				return "", err
			}
		default:
			b = append(b, c)
			r.off++
		}
	}
	return "", r.fail(ruleQuoteEnd)
}

func (r *yamlReader) doubleQuoted(indent int) (string, error) {
	r.off++
	var b []byte
	kept := 0 // white space before here came from escapes and stays
	for r.off < len(r.src) {
		var err error
		switch c := r.src[r.off]; {
		case c == '"':
			r.off++
			return string(b), nil
		case c == '\n':
			b, err = r.quotedBreak(b, kept, indent)
		case c == '\\' && strings.HasPrefix(r.src[r.off+1:], "\n"):
			r.off++
			var breaks int // the escaped one is none
			breaks, err = r.quotedBreaks(indent)
			b = append(b, strings.Repeat("\n", breaks-1)...)
			kept = len(b)
		case c == '\\':
			var decoded rune
			decoded, err = r.yamlEscape()
			b = utf8.AppendRune(b, decoded)
			kept = len(b)
		default:
			b = append(b, c)
			r.off++
		}
		if err != nil {
			return "", err
		}
	}
	return "", r.fail(ruleQuoteEnd)
}

// yamlEscape reads one escape of a double-quoted scalar (YAML 1.2.2, section
// 5.7), or the two of a surrogate pair, as JSON writes it.
func (r *yamlReader) yamlEscape() (rune, error) {
	const letters = "0abt\tnvfre \"/\\N_LP"
	meanings := [...]rune{0, 7, 8, 9, 9, 10, 11, 12, 13, 27, ' ', '"', '/', '\\', 0x85, 0xa0, 0x2028, 0x2029}
	if r.off+1 >= len(r.src) {
		return 0, r.fail(ruleQuoteEnd)
	}
	letter := r.src[r.off+1]
	if i := strings.IndexByte(letters, letter); i >= 0 {
		r.off += 2
		return meanings[i], nil
	}
	size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[letter]
	end := r.off + 2 + size
	if size == 0 || end > len(r.src) {
		return 0, r.fail("this is not a YAML escape")
	}
	v, err := strconv.ParseUint(r.src[r.off+2:end], 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, r.fail("this is not a YAML escape")
	}
	decoded := rune(v)
	if utf16.IsSurrogate(decoded) {
		low, ok := hexEscape(r.src[end:])
		decoded = utf16.DecodeRune(decoded, low)
		end += 6
		if !ok || decoded == utf8.RuneError || size != 4 {
			return 0, r.fail("half of a surrogate pair is not a character")
		}
	}
	r.off = end
	return decoded, nil
}

// blockScalar reads a literal or folded scalar, r.off at its indicator.
func (r *yamlReader) blockScalar(parent int) (string, error) {
	folded := r.src[r.off] == '>'
	r.off++
	var chomp byte
	indent := -1 // not known yet
	for range 2 {
		if r.off >= len(r.src) {
			break
		}
		switch c := r.src[r.off]; {
		case (c == '-' || c == '+') && chomp == 0:
			chomp = c
			r.off++
		case c >= '1' && c <= '9' && indent < 0:
			indent = max(parent, 0) + int(c-'0')
			r.off++
		}
	}
	header := r.off
	r.inline()
	if r.ahead("#") && r.off > header {
		if end := strings.IndexByte(r.src[r.off:], '\n'); end >= 0 {
			r.off += end
		} else {
			r.off = len(r.src)
		}
	}
	if r.off < len(r.src) && r.src[r.off] != '\n' {
		return "", r.fail(unexpected(r.src[r.off:], "the end of the line"))
	}
	if r.off < len(r.src) {
		r.off++
	}
	text := blockText{folded: folded}
	if err := r.blockLines(&text, parent, indent); err != nil {
		return "", err
	}
	return text.end(chomp), nil
}

// blockLines adds the lines of a block scalar without their indentation, which
// the first line with content sets unless indent is given.
func (r *yamlReader) blockLines(text *blockText, parent, indent int) error {
	widest := 0 // of the blank lines before the first with content
	for r.off < len(r.src) && !r.marker("---") && !r.marker("...") {
		line, _, found := strings.Cut(r.src[r.off:], "\n")
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		if spaces == len(line) && (indent < 0 || spaces <= indent) {
			widest = max(widest, spaces)
			text.blank++
		} else {
			if indent < 0 {
				if spaces <= parent {
					break
				}
				indent = spaces
				if widest > indent {
					return r.fail("a blank line before this one is indented deeper")
				}
			}
			if spaces < indent {
				break
			}
			text.line(line[indent:])
		}
		r.off += len(line)
		if found {
			r.off++
		}
	}
	return nil
}

// blockText joins the lines of a block scalar (YAML 1.2.2, sections 8.1.1.2
// and 8.1.3).
type blockText struct {
	strings.Builder
	folded bool
	blank  int  // lines without content since the last one with
	some   bool // there was a line with content
	spaced bool // the last one starts with white space, which keeps its breaks
}

func (t *blockText) line(s string) {
	spaced := s[0] == ' ' || s[0] == '\t'
	switch {
	case !t.some:
		t.breaks(t.blank)
	case !t.folded || t.spaced || spaced:
		t.breaks(t.blank + 1)
	case t.blank == 0:
		t.WriteByte(' ')
	default:
		t.breaks(t.blank)
	}
	t.WriteString(s)
	t.blank, t.some, t.spaced = 0, true, spaced
}

func (t *blockText) breaks(n int) { t.WriteString(strings.Repeat("\n", n)) }

// end applies the chomping indicator: "-" strips, "+" keeps, none clips.
func (t *blockText) end(chomp byte) string {
	if chomp != '-' && t.some {
		t.WriteByte('\n')
	}
	if chomp == '+' {
		t.breaks(t.blank)
	}
	return t.String()
}

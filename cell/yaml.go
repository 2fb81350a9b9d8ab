package cell

import "strings"

// yamlReader reads the part of YAML 1.2 that has exactly one meaning: block
// and flow collections, plain, quoted and block scalars, comments, one
// document. Anchors, aliases, tags, merge keys, directives and complex keys
// are refused by name. Plain scalars are read by the core schema, so "no" is a
// text (YAML 1.2.2, section 10.3).
//
// It is written here, not imported, because the input is hostile: time and
// memory are linear in its size and recursion ends at maxDepth.
type yamlReader struct {
	src string
	off int
	cursor
}

// readYAML reads exactly one document.
func readYAML(src string) (*node, error) {
	r := &yamlReader{src: strings.ReplaceAll(src, "\r\n", "\n")}
	for i := range len(r.src) {
		if c := r.src[i]; c < 0x20 && c != '\t' && c != '\n' || c == 0x7f {
			r.off = i
			return nil, r.fail("control characters are not allowed in YAML; write them as escapes in double quotes")
		}
	}
	if _, err := r.skip(); err != nil {
		return nil, err
	}
	if r.ahead("%") {
		return nil, r.fail("YAML directives are not allowed")
	}
	start := context{indent: -1, collection: true}
	if r.marker("---") {
		r.off += 3
		start.collection = false
	}
	n, err := r.block(start, 0)
	if err != nil {
		return nil, err
	}
	if _, err := r.skip(); err != nil {
		return nil, err
	}
	if r.marker("...") {
		r.off += 3
		if _, err := r.skip(); err != nil {
			return nil, err
		}
	}
	if r.off < len(r.src) {
		if r.marker("---") {
			return nil, r.fail("a second document starts here; one file holds one document")
		}
		return nil, r.leftover()
	}
	return n, nil
}

func (r *yamlReader) fail(rule string) error {
	return &syntaxError{at: r.place(r.src, min(r.off, len(r.src))), rule: rule}
}

// leftover says why text after a complete value is wrong.
func (r *yamlReader) leftover() error {
	switch {
	case r.colon(r.off, false):
		return r.fail(`a mapping is not allowed here; quote the text if ": " belongs to it`)
	case r.ahead("#"):
		return r.fail(`a comment needs a space before its "#"`)
	}
	return r.fail(unexpected(r.src[r.off:], "the end of the line or a field of the same indentation"))
}

func (r *yamlReader) ahead(s string) bool { return strings.HasPrefix(r.src[r.off:], s) }

// blank reports whether the byte at i separates tokens; the end of the text does.
func (r *yamlReader) blank(i int) bool {
	return i >= len(r.src) || r.src[i] == ' ' || r.src[i] == '\t' || r.src[i] == '\n'
}

// lineStart reports whether i is the first byte of a line.
func (r *yamlReader) lineStart(i int) bool { return i == 0 || r.src[i-1] == '\n' }

// marker reports whether a document marker stands at r.off.
func (r *yamlReader) marker(m string) bool {
	return r.lineStart(r.off) && r.ahead(m) && r.blank(r.off+3)
}

func (r *yamlReader) ended() bool {
	return r.off >= len(r.src) || r.marker("---") || r.marker("...")
}

// colon reports whether a ":" at i ends a key. In a flow collection it may
// also be followed by an indicator.
func (r *yamlReader) colon(i int, flow bool) bool {
	return i < len(r.src) && r.src[i] == ':' &&
		(r.blank(i+1) || flow && isFlowIndicator(r.src[i+1]))
}

func isFlowIndicator(c byte) bool { return strings.IndexByte(",[]{}", c) >= 0 }

// A gap is what skip went over.
type gap struct {
	lines  bool // at least one line break
	indent int  // column of what follows, from 0
	tab    bool // a tab stands before what follows, on its line
}

// skip moves over white space and comments to the next content. A block may
// not be indented by tabs: callers check gap.tab.
func (r *yamlReader) skip() (gap, error) {
	g := gap{lines: r.off == 0}
	for r.off < len(r.src) {
		switch c := r.src[r.off]; {
		case c == '\n':
			g.lines, g.tab = true, false
		case c == '\t':
			g.tab = true
		case c == ' ':
		case c == '#' && (r.off == 0 || r.blank(r.off-1)):
			end := strings.IndexByte(r.src[r.off:], '\n')
			if end < 0 {
				end = len(r.src) - r.off
			}
			r.off += end - 1
		default:
			g.indent = r.column()
			if g.lines && g.tab {
				return g, r.fail("tabs cannot indent in YAML; use spaces")
			}
			return g, nil
		}
		r.off++
	}
	return g, nil
}

// column is the column of r.off in bytes, from 0. Only white space and "-"
// stand before a block collection, so bytes are characters where it matters.
func (r *yamlReader) column() int {
	return r.off - 1 - strings.LastIndexByte(r.src[:r.off], '\n')
}

// A context is where a block node stands.
type context struct {
	indent     int  // column of the collection that it belongs to
	collection bool // a block collection may start on the same line
	afterKey   bool // a list may stand at the column of its key
}

// block reads the node after an indicator or at the start of the document.
func (r *yamlReader) block(in context, depth int) (*node, error) {
	if r.full() {
		return nil, r.fail(ruleValues)
	}
	n := &node{at: r.place(r.src, r.off)}
	g, err := r.skip()
	if err != nil {
		return nil, err
	}
	if r.ended() {
		return n, nil
	}
	dash := r.src[r.off] == '-' && r.blank(r.off+1)
	if g.lines && g.indent <= in.indent && !(in.afterKey && dash && g.indent == in.indent) {
		return n, nil // the value is absent
	}
	n.at = r.place(r.src, r.off)
	collection := (in.collection || g.lines) && !g.tab
	switch c := r.src[r.off]; {
	case dash && collection:
		return n, r.blockList(n, g.indent, depth)
	case dash:
		return nil, r.fail("a list must start on a line of its own, indented by spaces")
	case c == '|' || c == '>':
		n.kind = kindText
		n.text, err = r.blockScalar(in.indent)
		return n, err
	case c == '[' || c == '{':
		if err := r.flow(n, depth); err != nil {
			return nil, err
		}
		r.inline()
		if r.colon(r.off, true) {
			return nil, r.fail("only a text can be a key")
		}
		return n, nil
	}
	return r.scalarOrMapping(n, in, g, collection, depth)
}

// inline moves over spaces and tabs.
func (r *yamlReader) inline() {
	for r.off < len(r.src) && (r.src[r.off] == ' ' || r.src[r.off] == '\t') {
		r.off++
	}
}

func (r *yamlReader) scalarOrMapping(n *node, in context, g gap, collection bool, depth int) (*node, error) {
	start := r.off
	s, err := r.scalarLine(in.indent, false)
	if err != nil {
		return nil, err
	}
	end := r.off
	r.inline()
	if !r.colon(r.off, false) {
		r.off = end
		if s.plain {
			s.text = r.continuePlain(s.text, in.indent, false)
		}
		s.into(n)
		return n, nil
	}
	if !collection {
		return nil, r.leftover()
	}
	if strings.IndexByte(r.src[start:end], '\n') >= 0 {
		return nil, r.fail("a key must be on one line")
	}
	return n, r.blockMapping(n, g.indent, s, depth)
}

// blockMapping reads a mapping whose first key was read, r.off at its ":".
func (r *yamlReader) blockMapping(n *node, indent int, key scalar, depth int) error {
	if depth > maxDepth {
		return r.fail(ruleDepth)
	}
	n.kind = kindObject
	at := n.at
	for {
		if err := r.checkKey(key, at); err != nil {
			return err
		}
		r.off++ // :
		value, err := r.block(context{indent: indent, afterKey: true}, depth+1)
		if err != nil {
			return err
		}
		n.fields = append(n.fields, field{name: key.text, at: at, value: value})
		more, err := r.next(indent)
		if err != nil || !more {
			return err
		}
		if r.src[r.off] == '-' && r.blank(r.off+1) {
			return r.fail("a list item stands among the fields of an object")
		}
		at = r.place(r.src, r.off)
		start := r.off
		if key, err = r.scalarLine(indent, false); err != nil {
			return err
		}
		end := r.off
		r.inline()
		if !r.colon(r.off, false) || strings.IndexByte(r.src[start:end], '\n') >= 0 {
			r.off = start
			return r.fail(`a field needs the form "name: value" on one line`)
		}
	}
}

// checkKey refuses keys that no JSON object has.
func (r *yamlReader) checkKey(key scalar, at pos) error {
	if !key.plain {
		return nil
	}
	if key.text == "<<" {
		return &syntaxError{at, "YAML merge keys are not allowed; write the fields out"}
	}
	if resolve(key.text) != kindText {
		return &syntaxError{at, "a key must be a text; quote " + clean(key.text)}
	}
	return nil
}

// blockList reads a list, r.off at its first "-".
func (r *yamlReader) blockList(n *node, indent, depth int) error {
	if depth > maxDepth {
		return r.fail(ruleDepth)
	}
	n.kind = kindList
	for {
		r.off++ // -
		item, err := r.block(context{indent: indent, collection: true}, depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		more, err := r.next(indent)
		if err != nil || !more {
			return err
		}
		if r.src[r.off] != '-' || !r.blank(r.off+1) {
			return nil // the next key of the mapping that the list belongs to
		}
	}
}

// next moves to the next entry of a block collection. It reports false if the
// collection has ended.
func (r *yamlReader) next(indent int) (bool, error) {
	g, err := r.skip()
	if err != nil || r.ended() {
		return false, err
	}
	if !r.startsLine() {
		return false, r.leftover()
	}
	if g.indent > indent {
		return false, r.fail("the indentation fits no collection that is open here")
	}
	return g.indent == indent, nil
}

// startsLine reports whether only spaces stand before r.off on its line.
func (r *yamlReader) startsLine() bool {
	line := r.src[r.off-r.column() : r.off]
	return strings.Trim(line, " ") == ""
}

// flow reads a collection in brackets or braces.
func (r *yamlReader) flow(n *node, depth int) error {
	if depth > maxDepth {
		return r.fail(ruleDepth)
	}
	closing := byte(']')
	n.kind = kindList
	if r.src[r.off] == '{' {
		closing = '}'
		n.kind = kindObject
	}
	r.off++
	for {
		if err := r.flowSpace(); err != nil {
			return err
		}
		if r.src[r.off] == closing {
			r.off++
			return nil
		}
		var err error
		if n.kind == kindObject {
			err = r.flowField(n, depth)
		} else {
			err = r.flowItem(n, depth)
		}
		if err == nil {
			err = r.flowSpace()
		}
		if err != nil {
			return err
		}
		switch r.src[r.off] {
		case ',':
			r.off++
		case closing:
		default:
			return r.fail(unexpected(r.src[r.off:], `"," or "`+string(closing)+`"`))
		}
	}
}

// flowSpace moves to the next content inside a flow collection.
func (r *yamlReader) flowSpace() error {
	for {
		r.inline()
		if r.off < len(r.src) && r.src[r.off] == '\n' {
			r.off++
			continue
		}
		if r.ahead("#") && r.blank(r.off-1) {
			if end := strings.IndexByte(r.src[r.off:], '\n'); end >= 0 {
				r.off += end
				continue
			}
			r.off = len(r.src)
		}
		if r.ended() {
			return r.fail("a list or an object in brackets is not closed")
		}
		return nil
	}
}

func (r *yamlReader) flowItem(n *node, depth int) error {
	item, _, err := r.flowNode(depth)
	if err != nil {
		return err
	}
	n.items = append(n.items, item)
	if err := r.flowSpace(); err != nil {
		return err
	}
	if r.colon(r.off, true) {
		return r.fail(`a list item cannot be "key: value"; put it in braces`)
	}
	return nil
}

func (r *yamlReader) flowField(n *node, depth int) error {
	key, s, err := r.flowNode(depth)
	if err != nil {
		return err
	}
	if key.kind == kindList || key.kind == kindObject {
		return &syntaxError{key.at, "only a text can be a key"}
	}
	if err := r.checkKey(s, key.at); err != nil {
		return err
	}
	f := field{name: s.text, at: key.at, value: &node{at: key.at}}
	if err := r.flowSpace(); err != nil {
		return err
	}
	// After a quoted key the value may follow at once, as in JSON.
	if r.colon(r.off, true) || !s.plain && r.src[r.off] == ':' {
		r.off++
		if err := r.flowSpace(); err != nil {
			return err
		}
		if c := r.src[r.off]; c != ',' && c != '}' {
			if f.value, _, err = r.flowNode(depth); err != nil {
				return err
			}
		}
	}
	n.fields = append(n.fields, f)
	return nil
}

// flowNode reads one value inside a flow collection, and its scalar if it is one.
func (r *yamlReader) flowNode(depth int) (*node, scalar, error) {
	if r.full() {
		return nil, scalar{}, r.fail(ruleValues)
	}
	n := &node{at: r.place(r.src, r.off)}
	if c := r.src[r.off]; c == '[' || c == '{' {
		return n, scalar{}, r.flow(n, depth+1)
	}
	s, err := r.scalarLine(-1, true)
	if err != nil {
		return nil, s, err
	}
	if s.plain {
		s.text = r.continuePlain(s.text, -1, true)
	}
	s.into(n)
	return n, s, nil
}

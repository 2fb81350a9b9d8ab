package cell

import (
	"strconv"
	"strings"
)

// A path is the way from the document to one value. It grows by one step while
// a decoder descends, shares its tail with its siblings and is rendered only
// when something is wrong. A nil path is the document itself.
type path struct {
	parent *path
	name   string // field name or map key
	index  int    // list index, if name is unused
	step   step
}

type step uint8

const (
	stepField step = iota
	stepIndex
	stepKey // a key that the author chose
)

func (p *path) field(name string) *path { return &path{parent: p, name: name, step: stepField} }
func (p *path) at(i int) *path          { return &path{parent: p, index: i, step: stepIndex} }
func (p *path) key(k string) *path      { return &path{parent: p, name: k, step: stepKey} }

// String renders p as spec.authority.egressRules[2].port. A key that the
// author chose is quoted: spec.environment.vars["PATH"].
func (p *path) String() string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p *path) write(b *strings.Builder) {
	if p.parent != nil {
		p.parent.write(b)
	}
	switch p.step {
	case stepIndex:
		b.WriteByte('[')
		b.WriteString(strconv.Itoa(p.index))
		b.WriteByte(']')
	case stepKey:
		b.WriteByte('[')
		b.WriteString(quote(p.name))
		b.WriteByte(']')
	default:
		if p.parent != nil {
			b.WriteByte('.')
		}
		b.WriteString(p.name)
	}
}

// cutStep takes the first step off a rendered path. It reports false for a
// text that is no path.
func cutStep(s string) (first path, rest string, ok bool) {
	switch {
	case s == "":
		return path{}, "", false
	case s[0] == '[':
		end := strings.IndexByte(s, ']')
		if strings.HasPrefix(s, `["`) {
			quoted, err := strconv.QuotedPrefix(s[1:])
			if err != nil {
				return path{}, "", false
			}
			end = 1 + len(quoted)
		}
		if end < 0 || end >= len(s) || s[end] != ']' {
			return path{}, "", false
		}
		inner, rest := s[1:end], s[end+1:]
		if name, err := strconv.Unquote(inner); err == nil {
			return path{name: name, step: stepKey}, rest, true
		}
		i, err := strconv.Atoi(inner)
		return path{index: i, step: stepIndex}, rest, err == nil
	}
	s = strings.TrimPrefix(s, ".")
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	return path{name: s[:end], step: stepField}, s[end:], end > 0
}

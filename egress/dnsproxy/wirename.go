package dnsproxy

// A compression pointer is followed only to an earlier place than where the
// name or its last pointer began. So no name is read twice, and no loop exists.

// skipName returns where the name at off ends. It does not follow pointers.
func skipName(msg []byte, off int) (end int, ok bool) {
	for off < len(msg) {
		switch n := int(msg[off]); {
		case n == 0:
			return off + 1, true
		case n <= maxLabel:
			off += 1 + n
		case n >= 0xc0:
			return off + 2, off+2 <= len(msg)
		default:
			return 0, false
		}
	}
	return 0, false
}

// maxJumps bounds the pointers in one name. Real names have one or two.
const maxJumps = 32

// nameReader reads a name label by label.
type nameReader struct {
	msg   []byte
	off   int
	limit int // pointers must lead to before it
	jumps int
}

func nameAt(msg []byte, off int) nameReader {
	return nameReader{msg: msg, off: off, limit: off}
}

// next returns the next label; one of no bytes is the end of the name.
func (r *nameReader) next() (label []byte, ok bool) {
	for r.off < len(r.msg) {
		n := int(r.msg[r.off])
		if n <= maxLabel {
			end := r.off + 1 + n
			if end > len(r.msg) {
				return nil, false
			}
			label, r.off = r.msg[r.off+1:end], end
			return label, true
		}
		if n < 0xc0 || r.off+2 > len(r.msg) {
			return nil, false
		}
		to := int(be.Uint16(r.msg[r.off:]) & 0x3fff)
		if r.jumps++; to < headerLen || to >= r.limit || r.jumps > maxJumps {
			return nil, false
		}
		r.off, r.limit = to, to
	}
	return nil, false
}

// appendName appends the name at off without compression and in lower case.
func appendName(b, msg []byte, off int) ([]byte, bool) {
	start := len(b)
	for r := nameAt(msg, off); ; {
		label, ok := r.next()
		if !ok || len(b)-start+1+len(label) > maxWireName {
			return b, false
		}
		b = append(b, byte(len(label)))
		for _, c := range label {
			b = append(b, lower(c))
		}
		if len(label) == 0 {
			return b, true
		}
	}
}

// nameIs reports whether the name at off is wire, which is lower case.
func nameIs(msg []byte, off int, wire []byte) bool {
	for r := nameAt(msg, off); ; {
		label, ok := r.next()
		if !ok || len(wire) < 1+len(label) || int(wire[0]) != len(label) {
			return false
		}
		if len(label) == 0 {
			return true
		}
		for i, c := range label {
			if lower(c) != wire[1+i] {
				return false
			}
		}
		wire = wire[1+len(label):]
	}
}

// within reports whether a name is zone or lies under it. Both are in wire form
// and lower case.
func within(name, zone []byte) bool {
	for len(name) >= len(zone) {
		if string(name) == string(zone) {
			return true
		}
		if name[0] == 0 {
			return false
		}
		name = name[1+int(name[0]):]
	}
	return false
}

// nameText is a name in wire form as text, without the final dot; bytes that do
// not belong in a host name are escaped as in a zone file.
func nameText(wire []byte) string {
	if len(wire) <= 1 {
		return "."
	}
	var text []byte
	for len(wire) > 1 && wire[0] != 0 {
		n := 1 + int(wire[0])
		if len(text) > 0 {
			text = append(text, '.')
		}
		for _, c := range wire[1:n] {
			if hostByte[c] != 0 {
				text = append(text, c)
			} else {
				text = append(text, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			}
		}
		wire = wire[n:]
	}
	if len(text) > maxAnswerText {
		text = append(text[:maxAnswerText-3], "..."...)
	}
	return string(text)
}

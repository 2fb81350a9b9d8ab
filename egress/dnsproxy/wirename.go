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

// label returns the label at off, following pointers, and the offset behind it;
// a label of no bytes ends the name. Pointers must lead to before limit, which
// becomes the place they lead to.
func label(msg []byte, off int, limit *int) (l []byte, next int, ok bool) {
	for off < len(msg) {
		n := int(msg[off])
		if n <= maxLabel {
			if off+1+n > len(msg) {
				return nil, 0, false
			}
			return msg[off+1 : off+1+n], off + 1 + n, true
		}
		if n < 0xc0 || off+2 > len(msg) {
			return nil, 0, false
		}
		to := int(be.Uint16(msg[off:]) & 0x3fff)
		if to < headerLen || to >= *limit {
			return nil, 0, false
		}
		off, *limit = to, to
	}
	return nil, 0, false
}

// appendName appends the name at off without compression and in lower case.
func appendName(b, msg []byte, off int) ([]byte, bool) {
	start, limit := len(b), off
	for {
		l, next, ok := label(msg, off, &limit)
		if !ok || len(b)-start+1+len(l) > maxWireName {
			return b, false
		}
		b = append(b, byte(len(l)))
		for _, c := range l {
			b = append(b, lower(c))
		}
		if len(l) == 0 {
			return b, true
		}
		off = next
	}
}

// nameIs reports whether the name at off is wire, which is lower case.
func nameIs(msg []byte, off int, wire []byte) bool {
	limit := off
	for {
		l, next, ok := label(msg, off, &limit)
		if !ok || len(wire) < 1+len(l) || int(wire[0]) != len(l) {
			return false
		}
		if len(l) == 0 {
			return true
		}
		for i, c := range l {
			if lower(c) != wire[1+i] {
				return false
			}
		}
		off, wire = next, wire[1+len(l):]
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

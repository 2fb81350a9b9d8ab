package cell

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// A HostPattern is a DNS name, or "*." and a DNS name: one or more labels under
// it, never the name itself. It is in normal form. The zero value matches
// nothing.
type HostPattern struct {
	name     string // without "*."
	wildcard bool
}

// ParseHostPattern reads a pattern and brings it into normal form: lower case,
// A-labels (RFC 5891), no dot at the end.
func ParseHostPattern(s string) (HostPattern, error) {
	if s == "*" {
		return HostPattern{}, errors.New(`"*" alone would allow every name; a wildcard needs a name, such as "*.example.com"`)
	}
	rest, wildcard := strings.CutPrefix(s, "*.")
	if wildcard && strings.Trim(rest, ".") == "" {
		return HostPattern{}, errors.New(`a wildcard needs a name, such as "*.example.com"`)
	}
	if strings.Contains(rest, "*") {
		return HostPattern{}, errors.New(`a wildcard is the whole first label, such as "*.example.com"`)
	}
	name, err := NormalizeHost(rest)
	if err != nil {
		return HostPattern{}, err
	}
	if wildcard && len(name) > maxName-2 {
		return HostPattern{}, errLongName
	}
	return HostPattern{name: name, wildcard: wildcard}, nil
}

// String returns the normal form.
func (p HostPattern) String() string {
	if p.wildcard {
		return "*." + p.name
	}
	return p.name
}

// Wildcard reports whether p stands for the names under a name.
func (p HostPattern) Wildcard() bool { return p.wildcard }

// Match reports whether a name is one that p stands for. The name may be in
// any case and may end in a dot; it has A-labels already, as names in DNS
// messages do.
func (p HostPattern) Match(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if p.name == "" {
		return false
	}
	if !p.wildcard {
		return equalFold(name, p.name)
	}
	under := len(name) - len(p.name) - 1
	return under > 0 && name[under] == '.' && name[0] != '.' && equalFold(name[under+1:], p.name)
}

// equalFold compares a with lower, ASCII letters only: strings.EqualFold would
// take U+212A for "k".
func equalFold(a, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i := range len(a) {
		c := a[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// maxName and maxLabel bound a name in text form without the root dot (RFC
// 1035, section 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

var (
	errLongName  = errors.New("a DNS name has at most 253 characters")
	errLabel     = errors.New("each label of a DNS name has 1 to 63 characters")
	errCharacter = errors.New(`a DNS name has letters, digits, "-" and "_" only, and no "-" at the end of a label`)
	errNumeric   = errors.New("a name that ends in a number would be taken for an address")
)

// NormalizeHost brings a DNS name into the form in which names are compared:
// lower case, A-labels (RFC 5891), no dot at the end. Underscores are let
// through, as DNS itself does.
func NormalizeHost(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > maxName*utf8.UTFMax {
		return "", errLongName // Punycode takes time quadratic in its input
	}
	if !isASCII(name) {
		// The mapping of UTS 46 drops what cannot be seen; a list of names
		// is no place for it. The joiners are checked in their context.
		if strings.ContainsFunc(name, func(c rune) bool { return unicode.Is(unicode.Cf, c) && c != '\u200c' && c != '\u200d' }) {
			return "", errors.New("a DNS name has no invisible characters")
		}
		// Lower-casing, NFC and the contextual rules of RFC 5892.
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", errors.New("this is not an internationalised domain name (RFC 5891)")
		}
		name = strings.TrimSuffix(ascii, ".")
	}
	if len(name) > maxName {
		return "", errLongName
	}
	b := []byte(name)
	label := 0
	for i, c := range b {
		switch {
		case c == '.':
			if i == label || i-label > maxLabel {
				return "", errLabel
			}
			if b[i-1] == '-' {
				return "", errCharacter
			}
			label = i + 1
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case c == '-' && i > label:
		default:
			return "", errCharacter
		}
	}
	last := string(b[label:])
	switch {
	case last == "" || len(last) > maxLabel:
		return "", errLabel
	case last[len(last)-1] == '-':
		return "", errCharacter
	case only(last, digits), isHexNumber(last):
		return "", errNumeric
	}
	return string(b), nil
}

// isHexNumber reports whether inet_aton would read a label as a number.
func isHexNumber(label string) bool {
	rest, ok := strings.CutPrefix(label, "0x")
	return ok && only(rest, digits+"abcdef")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// A Target is the host of an egress rule in normal form: exactly one of its
// two kinds.
type Target struct {
	// Prefix is set for an address (all bits) or a CIDR prefix.
	Prefix netip.Prefix
	// Name is set for a name, a wildcard or HostLoopback.
	Name HostPattern
}

// ParseTarget reads the host of an egress rule.
func ParseTarget(host string) (Target, error) {
	switch {
	case strings.HasPrefix(host, "["):
		return Target{}, errors.New("an IPv6 address is written without brackets here")
	case strings.Contains(host, "://"):
		return Target{}, errors.New("this is a URL; write its host alone")
	case strings.Count(host, ":") == 1:
		return Target{}, errors.New("a host has no port; there is a field for it")
	case strings.ContainsAny(host, "/:") || looksNumeric(host):
		prefix, broken := parsePrefix(host)
		if broken != "" {
			return Target{}, errors.New(broken)
		}
		return Target{Prefix: prefix}, nil
	}
	name, err := ParseHostPattern(host)
	if err == nil && isLocalhost(name) {
		err = errors.New("localhost is the cell's own loopback in every cell; write 127.0.0.1 to document it, " + HostLoopback + " to reach the host's")
	}
	return Target{Name: name}, err
}

// looksNumeric reports whether the last label of host is a number, so that
// programs take host for an IPv4 address.
func looksNumeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && only(last, digits)
}

// Literal reports whether t is an address or a prefix.
func (t Target) Literal() bool { return t.Prefix.IsValid() }

// Single reports whether t is one address.
func (t Target) Single() bool { return t.Literal() && t.Prefix.IsSingleIP() }

// Loopback reports whether t is a literal of the cell's own loopback.
func (t Target) Loopback() bool {
	return t.Literal() && (inside(t.Prefix, loopback4) || inside(t.Prefix, loopback6))
}

var (
	loopback4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	loopback6 = netip.PrefixFrom(netip.IPv6Loopback(), 128)
)

// HostLoopback reports whether t is the host's own loopback.
func (t Target) HostLoopback() bool { return t.Name.String() == HostLoopback }

// String returns the normal form.
func (t Target) String() string {
	switch {
	case t.Single():
		return t.Prefix.Addr().String()
	case t.Literal():
		return t.Prefix.String()
	}
	return t.Name.String()
}

func isLocalhost(p HostPattern) bool {
	return p.name == "localhost" || strings.HasSuffix(p.name, ".localhost")
}

func checkHost(s string) string {
	if _, err := ParseTarget(s); err != nil {
		return err.Error()
	}
	return ""
}

const patternAllowed = `^(\*\.)?[^*/:\s]+$`

// checkAllowed is an entry of a hostname allow-list.
func checkAllowed(s string) string {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil || strings.Contains(s, "/") {
		return "an address is never resolved; declare it as the host of an egress rule"
	}
	p, err := ParseHostPattern(s)
	switch {
	case err != nil:
		return err.Error()
	case isLocalhost(p):
		return "localhost is answered in every cell and needs no entry"
	case p.String() == HostLoopback:
		return HostLoopback + " is not resolved by name servers; declare it as the host of an egress rule"
	}
	return ""
}

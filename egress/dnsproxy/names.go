package dnsproxy

import (
	"fmt"
	"strings"
)

// nameSet is a compiled allow-list. Looking a name up allocates nothing.
type nameSet struct {
	exact map[string]string // a name to itself, so that a hit yields a string
	under map[string]bool   // x for "*.x"
	depth int               // labels of the longest x
}

// compileNames compiles exact names and "*.x" patterns. They must be
// normalised: a pattern that could never match is a mistake of the caller.
func compileNames(patterns []string) (nameSet, error) {
	s := nameSet{exact: make(map[string]string), under: make(map[string]bool)}
	for _, p := range patterns {
		name, wild := strings.CutPrefix(p, "*.")
		if why := notNormal(name); why != "" {
			return nameSet{}, fmt.Errorf("name %q: %s", p, why)
		}
		if !wild {
			s.exact[name] = name
			continue
		}
		s.under[name] = true
		s.depth = max(s.depth, strings.Count(name, ".")+1)
	}
	return s, nil
}

// notNormal says why no query can have that name, or is empty.
func notNormal(name string) string {
	if len(name) > maxWireName-2 {
		return "longer than 253 characters"
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return "has an empty label"
		}
		if len(label) > maxLabel {
			return "has a label longer than 63 characters"
		}
		for i := range len(label) {
			if hostByte[label[i]] != label[i] || hostByte[label[i]] == 0 {
				return fmt.Sprintf("%q is not a lower-case letter, digit, hyphen or underscore", label[i])
			}
		}
	}
	return ""
}

// match reports whether a lower-case dotted name is allowed, and for an exact
// match the name as a string.
func (s *nameSet) match(name []byte) (exact string, ok bool) {
	if exact, ok = s.exact[string(name)]; ok {
		return exact, true
	}
	// From the right, so that the number of look-ups is bounded by the
	// patterns and not by the query. A dot has a label before it, so x
	// itself is never under "*.x".
	labels := 0
	for i := len(name) - 1; i > 0 && labels < s.depth; i-- {
		if name[i] != '.' {
			continue
		}
		labels++
		if s.under[string(name[i+1:])] {
			return "", true
		}
	}
	return "", false
}

// Package policy decides whether a document may run here, apart from whether
// it can: every rule is asked and every violation returned, so that an author
// sees all of them at once.
package policy

import (
	"fmt"
	"strings"

	"cellos.io/cellos/cell"
)

// A Violation is one rule that a document breaks.
type Violation struct {
	Rule   string `json:"rule"`
	Path   string `json:"path"` // of the document
	Reason string `json:"reason"`
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s (rule %s)", v.Path, v.Reason, v.Rule) }

// Operator is what the operator of this host demands of every document.
type Operator struct {
	// Argv0Prefixes, if not empty, are the only programs that a cell may
	// have: each is a path that covers itself and everything below it.
	Argv0Prefixes []string
}

// Decide returns every violation of the operator's rules.
func (o Operator) Decide(doc *cell.Document) []Violation {
	var out []Violation
	if run := doc.Spec.Run; run != nil && len(o.Argv0Prefixes) > 0 && !o.allowsProgram(run.Argv[0]) {
		out = append(out, Violation{
			Rule: "argv0AllowPrefixes",
			Path: "spec.run.argv[0]",
			Reason: fmt.Sprintf("%q is not under any of the prefixes that CELLOS_RUN_ARGV0_ALLOW_PREFIXES permits: %s",
				run.Argv[0], strings.Join(o.Argv0Prefixes, ", ")),
		})
	}
	return out
}

func (o Operator) allowsProgram(program string) bool {
	// "/usr/bin/../../tmp/x" starts with "/usr/bin/" and is not there.
	for element := range strings.SplitSeq(program, "/") {
		if element == ".." {
			return false
		}
	}
	for _, prefix := range o.Argv0Prefixes {
		prefix = strings.TrimRight(prefix, "/")
		if program == prefix || strings.HasPrefix(program, prefix+"/") {
			return true
		}
	}
	return false
}

package policy_test

import (
	"testing"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/policy"
)

func TestArgv0Prefixes(t *testing.T) {
	tests := []struct {
		prefixes []string
		program  string
		allowed  bool
	}{
		{nil, "/anything", true},
		{[]string{"/usr/bin/"}, "/usr/bin/true", true},
		{[]string{"/usr/bin"}, "/usr/bin/true", true},
		{[]string{"/usr/bin"}, "/usr/binary", false},
		{[]string{"/usr/bin/true"}, "/usr/bin/true", true},
		{[]string{"/usr/bin/true"}, "/usr/bin/true2", false},
		{[]string{"/usr/bin/"}, "/usr/bin/../../tmp/evil", false},
		{[]string{"/usr/bin/"}, "true", false},
		{[]string{"/opt/", "/usr/bin/"}, "/usr/bin/true", true},
	}
	for _, tt := range tests {
		doc := &cell.Document{Spec: cell.Spec{Run: &cell.Run{Argv: []string{tt.program}}}}
		violations := policy.Operator{Argv0Prefixes: tt.prefixes}.Decide(doc)
		if got := len(violations) == 0; got != tt.allowed {
			t.Errorf("prefixes %q, program %q: allowed %v, want %v", tt.prefixes, tt.program, got, tt.allowed)
		}
	}
}

func TestACellWithoutAProgramBreaksNoProgramRule(t *testing.T) {
	if v := (policy.Operator{Argv0Prefixes: []string{"/x"}}).Decide(&cell.Document{}); len(v) != 0 {
		t.Errorf("got %v", v)
	}
}

package dnsproxy

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	names, err := compileNames([]string{"api.example.com", "*.cdn.example.net", "*.org", "_sip._tcp.example.com", "both.test", "*.both.test"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"api.example.com":       true,
		"a.api.example.com":     false,
		"xapi.example.com":      false,
		"example.com":           false,
		"com":                   false,
		".":                     false,
		"cdn.example.net":       false, // a wildcard does not match its apex
		"a.cdn.example.net":     true,
		"a.b.c.cdn.example.net": true,
		"xcdn.example.net":      false,
		"cdn.example.net.evil":  false,
		"a.org":                 true,
		"org":                   false,
		"_sip._tcp.example.com": true,
		"both.test":             true,
		"x.both.test":           true,
		strings.Repeat("a.", 120) + "example.net":     false,
		strings.Repeat("a.", 110) + "cdn.example.net": true,
	} {
		if _, ok := names.match([]byte(name)); ok != want {
			t.Errorf("%s: %v, want %v", name, ok, want)
		}
	}
}

// A pattern that no query could match is a mistake that New reports.
func TestNamesMustBeNormal(t *testing.T) {
	for _, name := range []string{
		"", "*", "*.", ".", "a..b", "a.", ".a", "API.example.com", "a.*.b", "**.a", "exämple.com", "a b",
		strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 127) + "a",
	} {
		if _, err := compileNames([]string{name}); err == nil || !strings.Contains(err.Error(), "name ") {
			t.Errorf("%q: error %v, want one that quotes the name", name, err)
		}
	}
}

func TestTypes(t *testing.T) {
	for _, s := range []string{"A", "AAAA", "HTTPS", "CAA", "TYPE1234"} {
		n, err := parseType(s)
		if err != nil || typeName(n) != s {
			t.Errorf("%s: %s, %v", s, typeName(n), err)
		}
	}
	for _, s := range []string{"", "a", "ANY", "AXFR", "OPT", "TYPE36", "TYPE255", "TYPE0", "TYPE41", "TYPE65536", "TYPE", "TYPE+1"} {
		if n, err := parseType(s); err == nil {
			t.Errorf("%q is taken as %d", s, n)
		}
	}
}

func TestNewReportsEverything(t *testing.T) {
	_, err := New(Config{Names: []string{"A"}, Types: []string{"ANY"}, Deny: "drop", Upstreams: []Upstream{{ID: "x", Protocol: "dot"}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Record", `name "A"`, `"ANY"`, `"drop"`, `(x): protocol "dot"`, "(x): no Dial"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

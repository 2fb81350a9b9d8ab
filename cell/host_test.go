package cell

import (
	"net/netip"
	"strings"
	"testing"
)

func TestHostPatternMatch(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"example.com",
			[]string{"example.com", "EXAMPLE.com", "example.com."},
			[]string{"", ".", "www.example.com", "example.com.evil", "xexample.com", "example.comx", "example.com..", ".example.com"}},
		{"*.example.com",
			[]string{"a.example.com", "a.b.example.com", "A.EXAMPLE.COM."},
			[]string{"example.com", "example.com.", ".example.com", "xexample.com", "xxexample.com", "a.xexample.com", "a.example.com.evil", "", "*"}},
		{"*.Bücher.example.", []string{"a.xn--bcher-kva.example"}, []string{"xn--bcher-kva.example", "a.bücher.example"}},
		{"kelvin.example", []string{"Kelvin.example"}, []string{"\u212aelvin.example"}},
		{"*.test", []string{"a.test"}, []string{"test"}},
	} {
		p, err := ParseHostPattern(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		for _, name := range test.yes {
			if !p.Match(name) {
				t.Errorf("%s does not match %q", p, name)
			}
		}
		for _, name := range test.no {
			if p.Match(name) {
				t.Errorf("%s matches %q", p, name)
			}
		}
	}
	if (HostPattern{}).Match("") || (HostPattern{wildcard: true}).Match("a.") {
		t.Error("the zero pattern matches")
	}
}

func TestNormalizeHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, test := range []struct{ in, want string }{
		{"Example.COM.", "example.com"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"bu\u0308cher.example", "xn--bcher-kva.example"}, // NFC
		{"faß.de", "xn--fa-hia.de"},                       // IDNA 2008 keeps ß
		{"例え。テスト", "xn--r8jz45g.xn--zckzah"},
		{"ｅｘａｍｐｌｅ.com", "example.com"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"localhost", "localhost"},
		{"0xg.x0x1", "0xg.x0x1"},
		{strings.Join([]string{long, long, long, long[:61]}, "."), strings.Join([]string{long, long, long, long[:61]}, ".")},
		{strings.Join([]string{long, long, long, long[:62]}, "."), ""},
		{long + "a.example", ""},
		{"", ""}, {".", ""}, {"..", ""}, {"a..b", ""}, {".a", ""}, {"a b", ""}, {"a\x00b", ""}, {"-a.b", ""}, {"a-.b", ""},
		{"a.b-", ""}, {"1.2.3.4", ""}, {"a.5", ""}, {"a.0x5", ""}, {"0x", ""}, {"a/b", ""}, {"a:b", ""}, {"*", ""}, {"*.a", ""},
		{"a\u200bb", ""}, {"a\u202eb.example", ""}, {"\u0301a.example", ""}, {"xn--ü.example", ""}, {"ⓔ_ü.example", ""},
	} {
		got, err := NormalizeHost(test.in)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: %q, %v; want %q", test.in, got, err, test.want)
		}
		if again, err := NormalizeHost(got); got != "" && (again != got || err != nil) {
			t.Errorf("%q is not its own normal form: %q, %v", got, again, err)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, test := range []struct {
		host, want string
		loopback   bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.255.0.0/16", "127.255.0.0/16", true},
		{"::1", "::1", true},
		{"0:0:0:0:0:0:0:1", "::1", true},
		{"126.0.0.0/7", "126.0.0.0/7", false},
		{"0.0.0.0/0", "0.0.0.0/0", false},
		{"::/127", "::/127", false},
		{"::2", "::2", false},
		{"10.0.0.1/32", "10.0.0.1", false},
		{"2001:DB8::0001", "2001:db8::1", false},
		{"127.0.0.1.nip.example", "127.0.0.1.nip.example", false},
		{"*.X.example.", "*.x.example", false},
		{"::ffff:127.0.0.1", "", false},
		{"127.1", "", false},
		{"2130706433", "", false},
		{"0x7f000001", "", false},
		{"localhost", "", false},
		{"LOCALHOST.", "", false},
		{"*.localhost", "", false},
	} {
		got, err := ParseTarget(test.host)
		if (err == nil) != (test.want != "") || err == nil && got.String() != test.want {
			t.Errorf("%s: %s, %v; want %s", test.host, got, err, test.want)
		}
		if got.Loopback() != test.loopback {
			t.Errorf("%s: loopback %v", test.host, got.Loopback())
		}
	}
	if target, err := ParseTarget("Host.CellOS.internal."); err != nil || !target.HostLoopback() {
		t.Errorf("%+v, %v", target, err)
	}
	if target, err := ParseTarget("*.host.cellos.internal"); err != nil || target.HostLoopback() {
		t.Errorf("%+v, %v", target, err)
	}
	if (Target{}).Loopback() || (Target{}).Literal() || (Target{}).HostLoopback() {
		t.Error("the zero target is something")
	}
}

// TestRangeOf: a prefix is special only if all of it is.
func TestRangeOf(t *testing.T) {
	for _, test := range []struct {
		prefix, what string
		never        bool
	}{
		{"10.1.2.3/32", "private addresses", false},
		{"10.0.0.0/7", "", false},
		{"0.0.0.0/0", "", false},
		{"169.254.169.254/32", "link-local addresses", true},
		{"168.63.129.16/32", "a metadata service", true},
		{"100.100.100.200/32", "a metadata service", true},
		{"100.64.0.0/10", "shared address space", false},
		{"fd00:ec2::254/128", "a metadata service", true},
		{"fd00::/8", "private addresses", false},
		{"::1/128", "loopback", true},
		{"::/128", "the unspecified address, which a host takes for its loopback", true},
		{"0.0.0.0/32", "this network, which a host takes for its loopback", true},
		{"8.8.8.8/32", "", false},
		{"2606:4700::/32", "", false},
	} {
		r, ok := rangeOf(netip.MustParsePrefix(test.prefix))
		if r.what != test.what || r.never != test.never || ok != (test.what != "") {
			t.Errorf("%s: %+v, %v", test.prefix, r, ok)
		}
	}
}

func FuzzNormalizeHost(f *testing.F) {
	for _, s := range []string{"example.com", "*.a.b", "bücher.example", "127.0.0.1", "::1", "10.0.0.0/8", "xn--", "0x.1", "-", "ß.。"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := NormalizeHost(s)
		if err == nil {
			if again, err := NormalizeHost(name); again != name || err != nil {
				t.Errorf("%q → %q → %q, %v", s, name, again, err)
			}
			if len(name) > maxName || name == "" || !isASCII(name) || strings.ContainsAny(name, " */:@\x00") {
				t.Errorf("%q → %q", s, name)
			}
			if _, err := netip.ParseAddr(name); err == nil {
				t.Errorf("%q → the address %q", s, name)
			}
		}
		if p, err := ParseHostPattern(s); err == nil && p.Wildcard() && p.Match(p.name) {
			t.Errorf("%s matches its apex", p)
		}
		if target, err := ParseTarget(s); err == nil {
			if again, err := ParseTarget(target.String()); again != target || err != nil {
				t.Errorf("%q → %s → %s, %v", s, target, again, err)
			}
		}
	})
}

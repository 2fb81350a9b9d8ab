package cell

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const minimal = `{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{"id":"demo","lifetime":{"ttlSeconds":60}}}`

// parse reads a document that must be valid.
func parse(t testing.TB, name, text string) *Document {
	t.Helper()
	doc, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestParseReportsEverythingAtOnce(t *testing.T) {
	_, err := Parse("cell.yaml", []byte(`apiVersion: cellos.io/v1
kind: Cell
spec:
  id: demo
  lifetime: {ttlSeconds: 0}
  authority:
    egressRules:
    - {host: "*.", port: 70000, protocol: udp}
    - {host: a.example, port: 53, protocol: udp}
    dnsAuthority:
      hostnameAllowlist: [b.example]
  run:
    argv: []
    timeoutMillis: 5
`))
	want := `cell.yaml:2:7: kind: "Cell": must be "ExecutionCell"
cell.yaml:5:26: spec.lifetime.ttlSeconds: 0: must be 1 to 3153600000
cell.yaml:8:14: spec.authority.egressRules[0].host: "*.": a wildcard needs a name, such as "*.example.com"
cell.yaml:8:26: spec.authority.egressRules[0].port: 70000: must be 1 to 65535
cell.yaml:9:14: spec.authority.egressRules[1].host: "a.example": is not covered by spec.authority.dnsAuthority.hostnameAllowlist, so it would never be resolved; add it there
cell.yaml:9:31: spec.authority.egressRules[1].port: 53: can never take effect: the proxy answers all DNS of the cell; use protocol dns for a server of your own
cell.yaml:13:11: spec.run.argv: []: must not be empty
cell.yaml:14:5: spec.run: "timeoutMillis": is not a field here; did you mean "timeoutMs"?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if id, ok := ID(err); !ok || id != "demo" {
		t.Errorf("ID = %q, %v: the refusal could be recorded under its id", id, ok)
	}
}

func TestID(t *testing.T) {
	spec := func(s string) string { return `{"apiVersion":"x","spec":{` + s + `}}` }
	for _, test := range []struct{ text, want string }{
		{spec(`"id":"demo"`), "demo"},
		{spec(`"id":"a..b"`), ""},
		{spec(`"id":1`), ""},
		{spec(`"id":"a","id":"b"`), ""},
		{`{"spec":{"id":"a"},"spec":{"id":"b"}}`, ""},
		{`{"spec":{"id":"a"},"spec":null}`, ""},
		{`{"spec":[{"id":"a"}]}`, ""},
		{`{"spec":{"id":"demo"}`, ""},
		{``, ""},
	} {
		_, err := Parse("x.json", []byte(test.text))
		if id, ok := ID(err); id != test.want || ok != (test.want != "") {
			t.Errorf("%s: ID = %q, %v", test.text, id, ok)
		}
	}
	if _, ok := ID(nil); ok {
		t.Error("no error has an id")
	}
	if _, ok := ID(errors.New("x")); ok {
		t.Error("a foreign error has an id")
	}
}

func TestSyntaxIsChosenByName(t *testing.T) {
	yaml := "apiVersion: cellos.io/v1\nkind: ExecutionCell\nspec: {id: demo, lifetime: {ttlSeconds: 60}}\n"
	for _, test := range []struct {
		name, text string
		ok         bool
	}{
		{"a.json", minimal, true}, {"a.yaml", minimal, true}, {"-", minimal, true}, {"-", " \n" + minimal, true},
		{"a.json", yaml, false}, {"a.yml", yaml, true}, {"-", yaml, true}, {"A.YAML", yaml, true}, {"A.JSON", yaml, false},
	} {
		if _, err := Parse(test.name, []byte(test.text)); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestSpecHash(t *testing.T) {
	a := parse(t, "a.json", minimal)
	b := parse(t, "b.yaml", "# another spelling\nkind: 'ExecutionCell'\nspec:\n  lifetime:\n    ttlSeconds: 60\n  id: demo\napiVersion: cellos.io/v1\n")
	if a.SpecHash() != b.SpecHash() {
		t.Errorf("%s and %s", a.Canonical(), b.Canonical())
	}
	if string(a.Canonical()) != minimal {
		t.Errorf("got %s", a.Canonical())
	}
	// printf %s "$minimal" | sha256sum
	if want := "91eb37d0b947e3270506155eed1052974362f858c6a2af7983dde5302842c185"; a.SpecHash() != want {
		t.Errorf("got %s", a.SpecHash())
	}
	// What was written counts, not what it means.
	c := parse(t, "c.json", strings.Replace(minimal, `"id"`, `"authority":{},"id"`, 1))
	if c.SpecHash() == a.SpecHash() {
		t.Error("another document has the same hash")
	}
	// A document built in memory is what it would be as JSON.
	built := Document{APIVersion: APIVersion, Kind: Kind, Spec: Spec{ID: "demo", Lifetime: Lifetime{TTLSeconds: 60}}}
	if built.SpecHash() != a.SpecHash() {
		t.Errorf("built: %s", built.Canonical())
	}
}

// TestCanonicalForm runs the examples of RFC 8785 whose values a document can
// have: fractions it cannot.
func TestCanonicalForm(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`{"\u20ac":"a","\r":"b","\ufb33":"c","1":"d","\ud83d\ude00":"e","\u0080":"f","\u00f6":"g"}`,
			"{\"\\r\":\"b\",\"1\":\"d\",\"\u0080\":\"f\",\"\u00f6\":\"g\",\"\u20ac\":\"a\",\"\U0001F600\":\"e\",\"\ufb33\":\"c\"}"},
		{`["\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", -0, 0, null, true]`,
			`["€$\u000f\nA'B\"\\\\\"/",0,0,null,true]`},
		{`{"a":{"c":1,"b":[]},"":{}, "A":"\u007f\b\t\f"}`, `{"":{},"A":"` + "\x7f" + `\b\t\f","a":{"b":[],"c":1}}`},
	} {
		n, err := readJSON(test.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(n.appendJCS(nil)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestPosition(t *testing.T) {
	doc := parse(t, "a.yaml", `apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: demo
  lifetime: {ttlSeconds: 60}
  correlation:
    labels: {"é": x, b: y}
  authority:
    egressRules:
      - host: 127.0.0.1
        port: 80
        protocol: tcp
`)
	for _, test := range []struct {
		path      string
		line, col int
	}{
		{"", 1, 1},
		{"spec.id", 4, 7},
		{`spec.correlation.labels["b"]`, 7, 25},
		{"spec.authority.egressRules[0].port", 11, 15},
		{"spec.authority.egressRules[0].justification", 10, 9}, // absent: its rule
		{"spec.authority.egressRules[7].port", 10, 7},          // absent: the list
		{"spec..id", 4, 3},
		{"spec[", 4, 3},
		{`spec["`, 4, 3},
		{"spec[99999999999999999999]", 4, 3},
		{"spec[-1]", 4, 3},
		{"nowhere", 1, 1},
	} {
		if line, col := doc.Position(test.path); line != test.line || col != test.col {
			t.Errorf("%s: %d:%d, want %d:%d", test.path, line, col, test.line, test.col)
		}
	}
	if line, col := new(Document).Position("spec"); line != 0 || col != 0 {
		t.Errorf("a document without text: %d:%d", line, col)
	}
}

func TestBounds(t *testing.T) {
	big := []byte(minimal + strings.Repeat(" ", MaxBytes-len(minimal)))
	if _, err := Parse("a.json", big); err != nil {
		t.Errorf("%d bytes: %v", len(big), err)
	}
	if _, err := Parse("a.json", append(big, ' ')); err == nil || !strings.Contains(err.Error(), "1048577 bytes") {
		t.Errorf("one byte more: %v", err)
	}
	// As many values as fit, in both syntaxes.
	for _, name := range []string{"a.json", "a.yaml"} {
		for _, n := range []int{maxValues - 1, maxValues} {
			_, err := Parse(name, []byte("["+strings.Repeat("1,", n-1)+"1]"))
			if full := strings.Contains(err.Error(), ruleValues); full != (n == maxValues) {
				t.Errorf("%s: a list of %d: %v", name, n, err)
			}
		}
	}
	// As many errors as fit: the list stays short and says what it omits.
	_, err := Parse("a.json", []byte(`{`+strings.Repeat(`"a":1,`, 5000)+`"b":1}`))
	var list Errors
	if !errors.As(err, &list) || len(list) != maxErrors+1 || !strings.Contains(list[maxErrors].Rule, "more errors") {
		t.Errorf("%d errors", len(list))
	}
}

// TestErrorsShowNoControlBytes: a document cannot write to the terminal of
// whoever reads its errors.
func TestErrorsShowNoControlBytes(t *testing.T) {
	_, err := Parse("a\x1b[2J.json", []byte(`{"apiVersion":"\u001b[31m\u202e","\u0007":1,"kind":"`+strings.Repeat("x", 5000)+`"}`))
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\x07\u202e") {
		t.Errorf("%q", err)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if len(line) > 400 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// hostile are texts of the largest size that make careless readers slow.
func hostile() map[string]string {
	fill := func(before, unit, after string) string {
		return before + strings.Repeat(unit, (MaxBytes-len(before)-len(after))/len(unit)) + after
	}
	return map[string]string{
		"keys.yaml":       fill("", "abcdefghi: abcdef\n", ""),
		"many.yaml":       fill("a:\n", "- abcdefghijklmno\n", ""),
		"breaks.yaml":     fill("a: |\n", "\n", ""),
		"plain.yaml":      fill("a: b\n", " c\n", ""),
		"quoted.yaml":     fill("'", "a\n", "'"),
		"spaces.yaml":     fill("a: \"b", " \n", "\""),
		"flow.yaml":       fill("[", "abcdefghijklmnop,", "]"),
		"flowkeys.yaml":   fill("{", "abcdefghi: abcdef,", "}"),
		"comments.yaml":   fill("", "#\n", ""),
		"folded.yaml":     fill("a: >\n", "  b\n\n", ""),
		"oneline.yaml":    fill("a: ", "b ", ""),
		"open.json":       fill("", "[", ""),
		"dashes.yaml":     fill("", "- ", ""),
		"escapes.json":    fill(`"`, `\n`, `"`),
		"numbers.json":    fill("[", "1234567890123456,", "1]"),
		"labels.json":     fill(`{"spec":{"correlation":{"labels":{`, `"aaaaaaaa":"bbbbbbbbbbbb",`, `"b":"c"}}}}`),
		"allowlist.json":  fill(`{"spec":{"authority":{"dnsAuthority":{"hostnameAllowlist":[`, `"*.aaaaaaaaaaaaaaa",`, `"b"]}}}}`),
		"rules.json":      fill(`{"spec":{"authority":{"egressRules":[`, `{"host":"a.example","port":1,"protocol":"tcp","justification":"because it is so"},`, `{}]}}}`),
		"mounts.json":     fill(`{"spec":{"authority":{"filesystem":{"mounts":[`, `{"source":"/srv/a/b/c/d","target":"/a/b/c/d/e/f"},`, `{}]}}}}`),
		"secrets.json":    fill(`{"spec":{"authority":{"secretRefs":[`, `"aaaaaaaaaaaaaaaaa",`, `"b"]}}}`),
		"deepname.json":   fill(`{"spec":{"authority":{"egressRules":[{"port":1,"host":"`, `a.`, `b"}]}}}`),
		"idn.json":        fill(`{"spec":{"authority":{"egressRules":[{"port":1,"host":"`, `üß`, `"}]}}}`),
		"idnlist.json":    fill(`{"spec":{"authority":{"dnsAuthority":{"hostnameAllowlist":[`, `"`+strings.Repeat("ü例", 100)+`",`, `"b"]}}}}`),
		"digits.json":     fill(`{"spec":{"lifetime":{"ttlSeconds":`, "1", "}}}"),
		"unknown.json":    fill(`{"spec":{"`, "a", `":1}}`),
		"dnsoverlap.json": fill(`{"spec":{"authority":{"dnsAuthority":{"rebindingPolicy":{"responseIpAllowlist":[`, `"2001:db8:1111::/48",`, `"10.0.0.0/9"]}}}}}`),
	}
}

func TestHostileTexts(t *testing.T) {
	for name, text := range hostile() {
		if _, err := Parse(name, []byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"minimal.yaml", "seed-dns-proxy.json", "every-field.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata/corpus/valid", name))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Parse(name, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHostile shows that time is linear in the size of a text: every line
// is about the same order of magnitude.
func BenchmarkHostile(b *testing.B) {
	for name, text := range hostile() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, _ = Parse(name, []byte(text))
			}
		})
	}
}

func BenchmarkSpecHash(b *testing.B) {
	doc := parse(b, "a.json", minimal)
	b.ReportAllocs()
	for b.Loop() {
		_ = doc.SpecHash()
	}
}

func TestJSONForm(t *testing.T) {
	text, err := json.Marshal(parse(t, "a.json", minimal))
	if err != nil || string(text) != minimal {
		t.Errorf("%s, %v", text, err)
	}
}

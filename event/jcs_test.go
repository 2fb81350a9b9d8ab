package event

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
)

// vectors is the folder of third-party test vectors, which are kept outside
// the repository.
func vectors(tb testing.TB, name string) string {
	tb.Helper()
	root := os.Getenv("CELLOS_TEST_VECTORS")
	if root == "" {
		root = filepath.Join("..", "..", "shared", "vectors")
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); err != nil {
		// The pure packages are tested where testenv does not build.
		if strings.Contains(os.Getenv("CELLOS_TEST_REQUIRE"), "vectors") {
			tb.Fatalf("CELLOS_TEST_REQUIRE names vectors: %v", err)
		}
		tb.Skipf("no vectors, set CELLOS_TEST_VECTORS: %v", err)
	}
	return dir
}

func TestCanonicalVectors(t *testing.T) {
	dir := vectors(t, "jcs")
	inputs, err := filepath.Glob(filepath.Join(dir, "input", "*.json"))
	if err != nil || len(inputs) < 6 {
		t.Fatalf("found %d vectors: %v", len(inputs), err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(dir, "output", filepath.Base(path)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Canonical(nil, src)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, bytes.TrimSpace(want)) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{` { "b" : 1 , "a" : [ true , null ] } `, `{"a":[true,null],"b":1}`},
		{`{"b":{"z":1,"y":2},"a":{"d":{"f":1,"e":2},"c":0}}`, `{"a":{"c":0,"d":{"e":2,"f":1}},"b":{"y":2,"z":1}}`},
		{`{}`, `{}`}, {`[]`, `[]`}, {`""`, `""`},
		// Names sort by UTF-16 code units: the surrogates of U+1F600 are
		// below U+FB33, U+1F600 itself is not.
		{"{\"\ufb33\":1,\"\U0001f600\":2}", "{\"\U0001f600\":2,\"\ufb33\":1}"},
		{"{\"\U0001f601\":1,\"\U0001f600\":2}", "{\"\U0001f600\":2,\"\U0001f601\":1}"},
		{"{\"a\U0001f600\":1,\"a\":2,\"a\ufb33\":3}", "{\"a\":2,\"a\U0001f600\":1,\"a\ufb33\":3}"},
		{`{"\u000a":1,"\t":2,"a":3,"\"":4}`, `{"\t":2,"\n":1,"\"":4,"a":3}`},
		{`"\u0000\u001f\b\f\n\r\t\"\\\/\u007f\u2028"`, "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\u007f\u2028\""},
		{`"\ud83d\ude00"`, "\"\U0001f600\""},
		{`[0,-0,-0.0,1.0,10e-1,1e2,-1,123456789012345]`, `[0,0,0,1,1,100,-1,123456789012345]`},
		{`[1e21,1e20,1e-6,1e-7,0.1e-6]`, `[1e+21,100000000000000000000,0.000001,1e-7,1e-7]`},
		{`[9007199254740992,5e-324,1.7976931348623157e308,333333333.33333329]`, `[9007199254740992,5e-324,1.7976931348623157e+308,333333333.3333333]`},
		{`1e-400`, `0`},
	} {
		got, err := Canonical([]byte("x"), []byte(test.in))
		if err != nil || string(got) != "x"+test.want {
			t.Errorf("%s: got %s, %v, want %s", test.in, got, err, test.want)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for _, in := range []string{
		``, ` `, `nul`, `tru`, `{`, `}`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{'a':1}`,
		`{} {}`, `1 2`, `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\x01\"", "\"\n\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"",
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800a"`, `"\udc00\ud800"`,
		`01`, `-`, `+1`, `1.`, `.5`, `1e`, `1e+`, `0x1`, `1e400`, `-1e400`, `NaN`, `Infinity`, `--1`, `-01`,
		`{"a":1,"a":2}`, `{"a":1,"b":2,"a":3}`, `{"\u0061":1,"a":2}`, `{"\n":1,"\u000a":2}`,
		"\ufeff{}", "\x00", "{}\x00",
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<18),
	} {
		if got, err := Canonical(nil, []byte(in)); err == nil {
			t.Errorf("%.60q became %.60q", in, got)
		}
	}
}

func TestCanonicalExact(t *testing.T) {
	for in, ok := range map[string]bool{
		"9007199254740991": true, "-9007199254740991": true, "9007199254740992": false,
		"-9007199254740993": false, "1e300": true, "0.5": true, "18446744073709551615": false,
	} {
		c := canonicalizer{src: []byte(in), exact: true}
		if err := c.document(); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// FuzzCanonical compares with another implementation of RFC 8785.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":1,"a":[1e21,-0,"\ud83d\ude00\n"]}`, `"é"`, `[[[]]]`, `{"\ufb33":1,"\ud83d\ude00":2}`, `1.5e-7`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := Canonical(nil, src)
		want, otherErr := jcs.Transform(src)
		if err != nil {
			return // stricter than the other: depth, duplicates
		}
		if otherErr != nil {
			t.Fatalf("accepted %q, the other says %v", src, otherErr)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q\n got  %q\n want %q", src, got, want)
		}
		again, err := Canonical(nil, got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q is not canonical: %q, %v", got, again, err)
		}
		if !json.Valid(got) {
			t.Fatalf("%q is not JSON", got)
		}
	})
}

// FuzzNumber checks that numbers keep their value.
func FuzzNumber(f *testing.F) {
	for _, x := range []float64{0, 1, -1, 1e21, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64, 333333333.33333329, 1 << 53} {
		f.Add(math.Float64bits(x))
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		x := math.Float64frombits(bits)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return
		}
		want, err := jcs.NumberToJSON(x)
		if got := string(appendFloat(nil, x)); err != nil || got != want {
			t.Fatalf("%v: got %s, want %s (%v)", x, got, want, err)
		}
	})
}

func TestAppendTextIsCanonical(t *testing.T) {
	for _, s := range []string{"", "a", "\x00\x1f\"\\/\u2028\U0001f600", "\xff"} {
		got := appendText(nil, s)
		again, err := Canonical(nil, got)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q: %s, then %s, %v", s, got, again, err)
		}
		if back := unescape(got); back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q came back as %q", s, back)
		}
	}
}

func TestMembersOfCanonicalObject(t *testing.T) {
	doc, err := Canonical(nil, []byte(`{"a":"}\"{,","b":{"c":[1,{"d":"]"}]},"e":-1.5,"\"":null,"z":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	eachMember(doc, func(name, value []byte, start, end int) bool {
		if string(doc[start:end]) != `"`+string(name)+`":`+string(value) {
			t.Errorf("range of %s is %s", name, doc[start:end])
		}
		got = append(got, string(name)+"="+string(value))
		return true
	})
	want := `\"=null a="}\"{," b={"c":[1,{"d":"]"}]} e=-1.5 z=[]`
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

package cell

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestYAML(t *testing.T) {
	for _, test := range []struct{ name, yaml, json string }{
		{"empty", "", `null`},
		{"comment only", "# nothing\n", `null`},
		{"plain", "a b", `"a b"`},
		{"core schema", "[~, null, true, FALSE, 1, -1]", `[null,null,true,false,1,-1]`},
		{"words", "[yes, no, on, off, y, n, None, nil, 1_000, 1:30, 0b1, .5.5, 1e, -, 0x, +, .]", ""},
		{"words", "[yes, no, on, off, y, n, None, nil, 1_000, 1:30, 0b1, .5.5, 1e, 0x]",
			`["yes","no","on","off","y","n","None","nil","1_000","1:30","0b1",".5.5","1e","0x"]`},
		{"colon inside", "a: b:c\nd: http://x/y", `{"a":"b:c","d":"http://x/y"}`},
		{"hash inside", "a: b#c # d", `{"a":"b#c"}`},
		{"dash inside", "a: -b\nc: - d", ""},
		{"absent values", "a:\nb:\n  c:\n", `{"a":null,"b":{"c":null}}`},
		{"list at key column", "a:\n- 1\n- - 2\n  - 3\nb: 4", `{"a":[1,[2,3]],"b":4}`},
		{"list of objects", "- a: 1\n  b: 2\n-\n  c: 3\n-\n- d", `[{"a":1,"b":2},{"c":3},null,"d"]`},
		{"folding", "a: b\n  c\n\n  d\n", `{"a":"b c\nd"}`},
		{"single quotes", "'it''s\n  ok\n\n  x'", `"it's ok\nx"`},
		{"double quotes", `"a\x41\u00e9\U0001F600\ud83d\ude00\N\_\e\0\/\	b"`, `"aA\u00e9\ud83d\ude00\ud83d\ude00\u0085\u00a0\u001b\u0000/\tb"`},
		{"escaped break", "\"a \\\n   b\\\n\n  c\"", `"a b\nc"`},
		{"kept white space", "\"a\\t\n  b\"", `"a\t b"`},
		{"literal", "|\n a\n  b\n\n c\n\n", `"a\n b\n\nc\n"`},
		{"literal kept", "|+\n a\n\n", `"a\n\n"`},
		{"literal stripped", "|-\n a\n\n", `"a"`},
		{"literal indented", "a: |1\n  b\n", `{"a":" b\n"}`},
		{"literal without content", "a: |\nb: >+\n\n", `{"a":"","b":"\n"}`},
		{"folded", ">\n a\n b\n\n c\n  d\n\n e\n", `"a b\nc\n d\n\ne\n"`},
		{"flow", "{a: [b, 'c', {d: }], \"e\":f, g, }", `{"a":["b","c",{"d":null}],"e":"f","g":null}`},
		{"flow over lines", "a: [b, # c\n\n  d\n]\n", `{"a":["b","d"]}`},
		{"url in flow", "[http://x/?a=b:c]", `["http://x/?a=b:c"]`},
		{"markers", "--- # c\na: 1\n... # d\n# e\n", `{"a":1}`},
		{"carriage returns", "a: 1\r\nb: |\r\n  x\r\n", `{"a":1,"b":"x\n"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := readYAML(test.yaml)
			if err != nil {
				if test.json != "" {
					t.Fatal(err)
				}
				return
			}
			if test.json == "" {
				t.Fatalf("accepted as %s", n.appendJCS(nil))
			}
			want, err := readJSON(test.json)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := n.appendJCS(nil), want.appendJCS(nil); !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestYAMLRefuses(t *testing.T) {
	for _, text := range []string{
		"a: &x b", "*x", "a: *x", "!t b", "!", "- !!str a", "a: !<x> b", "<<: {a: b}", "{<<: a}",
		"? a", "{? a: b}", "? ", "[a: b]", "[a]: b", "{[a]: b}", "{{a: b}: c}",
		"%TAG ! x\n---\na", "---\na\n---\nb", "a\n...\nb", "--- a: b", "---\n---\n",
		"\ta: b", "a:\n\tb: c", "a:\n  b: c\n\td: e", "- a\n\t- b", "-\t- a",
		"a: b: c", "a: b\n  c: d", "a: 'b' c", "a: [b] c", "- a\nb: c", "a: b\n- c", "a:\n  b: c\n d: e",
		"a: - b", "a: | b", "a: |0\n b", "a: |12\n b", "|\n   \n a", "a: >x\n b",
		"[a", "{a", "[a,,b]", "[,a]", "{a b", "[a}", "'a", "\"a", "\"\\q\"", "\"\\ud800\"", "\"\\u12\"", "\"\\U00110000\"",
		"a: 'b\nc'", "a: \"b\n---\nc\"", "a: [b\n---\n]", "1: a", "null: a", "true: a", "{~: a}", ": a", "{: a}",
		"@a", "`a`", "a: %b", "a: ]", "a: }", ", a", "a: b\n#c\n  d: e", "a: \"b\"#c", "a\x00b", "a: \x7f", "a\rb",
		strings.Repeat("[", 100), strings.Repeat("- ", 100), strings.Repeat("{a: ", 100),
		"a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		if n, err := readYAML(text); err == nil {
			t.Errorf("%q was accepted as %s", text, n.appendJCS(nil))
		}
	}
}

// TestYAMLSuite runs the YAML test suite, which ships with the library that
// the corpus is compared with. What we accept must mean what the suite says.
func TestYAMLSuite(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/goccy/go-yaml").Output()
	if err != nil {
		t.Fatalf("find the YAML test suite: %v", err)
	}
	dirs, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "testdata/yaml-test-suite/*"))
	if err != nil || len(dirs) < 200 {
		t.Fatalf("%d cases of the YAML test suite, %v", len(dirs), err)
	}
	agreed := 0
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "in.yaml"))
		if err != nil {
			continue // a group of cases
		}
		n, refused := readYAML(string(text))
		_, noError := os.Stat(filepath.Join(dir, "error"))
		name := filepath.Base(dir)
		switch {
		case refused != nil:
			if noError != nil {
				agreed++
			}
			continue // only one spelling of each thing is accepted
		case noError == nil && name != "wrong-indented-flow-sequence":
			// That one has exactly one meaning for a reader, and is common.
			t.Errorf("%s: accepted as %s", name, n.appendJCS(nil))
			continue
		}
		want, err := os.ReadFile(filepath.Join(dir, "in.json"))
		if err != nil || bytes.Contains(want, []byte("0.2")) || bytes.Count(want, []byte("\n")) == 0 {
			continue // no single value, or a fraction, which no field takes
		}
		var value any
		if json.Unmarshal(want, &value) != nil {
			continue
		}
		ordered, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := readJSON(string(ordered))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := n.appendJCS(nil), tree.appendJCS(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
			continue
		}
		agreed++
	}
	if agreed < 150 {
		t.Errorf("only %d cases were compared", agreed)
	}
}

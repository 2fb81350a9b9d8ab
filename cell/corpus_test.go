package cell

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/gowebpki/jcs"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaCannotSay lists the invalid documents of the corpus that the JSON
// Schema accepts, with the reason. Documents named syntax-* are no values, so
// a schema never sees them.
var schemaCannotSay = map[string]string{
	"duplicate-":                     "a value has no duplicate fields",
	"integer-written-as-fraction":    "60.0 is an integer value",
	"integer-with-exponent":          "6e1 is an integer value",
	"integer-in-hex":                 "0x3c is an integer value",
	"integer-with-leading-zero":      "060 is an integer value",
	"fraction-in-unbuilt-field":      "the shape of ingress is open",
	"nul-in-argument":                "stated once for all texts, not per pattern",
	"identity-secret-declared-twice": "compares two fields",
	"variable-is-a-secret":           "compares two fields",
	"environment-rootfs-in-proc":     "paths are compared by component",
	"egress-host-":                   "names and addresses need their parsers",
	"egress-cidr-host-bits":          "arithmetic on addresses",
	"egress-cidr-prefix-length":      "arithmetic on addresses",
	"egress-tcp-53":                  "depends on dnsAuthority",
	"egress-udp-53-name":             "depends on dnsAuthority",
	"egress-853":                     "depends on dnsAuthority",
	"egress-udp-name-443":            "names and addresses need their parsers",
	"egress-unspecified":             "arithmetic on addresses",
	"egress-multicast":               "arithmetic on addresses",
	"egress-link-local-v6":           "arithmetic on addresses",
	"egress-benchmark-range":         "depends on dnsAuthority",
	"egress-rule-twice":              "compares list items after normalisation",
	"egress-https-beside-":           "compares list items",
	"egress-name-":                   "compares two lists",
	"egress-apex-":                   "compares two lists",
	"egress-wildcard-wider-":         "compares two lists",
	"dns-name-address":               "names and addresses need their parsers",
	"dns-name-localhost":             "names need their parser",
	"dns-name-host-loopback":         "one name among many",
	"dns-name-twice-in-two-":         "compares list items after normalisation",
	"resolver-id-twice":              "compares list items",
	"resolver-tls-name":              "names need their parser",
	"response-ip-loopback":           "arithmetic on addresses",
	"response-ip-link-local":         "arithmetic on addresses",
	"response-ip-metadata":           "arithmetic on addresses",
	"response-ip-host-bits":          "arithmetic on addresses",
	"response-ip-covered":            "compares list items",
	"mount-source-":                  "paths are compared by component",
	"mount-target-":                  "paths are compared by component",
	"mount-hides-another":            "compares list items",
	"mount-protect-dots":             "paths are compared by component",
	"user-uid-too-large":             "arithmetic in a text",
	"working-directory-root":         "paths are compared by component",
	"working-directory-proc":         "paths are compared by component",
	"timeout-beyond-ttl":             "compares two fields",
	"timeout-ms-beyond-ttl":          "compares two fields",
	"setup-name-not-in-list":         "compares two lists",
	"setup-timeout-beyond-ttl":       "compares two fields",
	"export-target-undeclared":       "compares two lists",
	"export-target-twice":            "compares list items",
	"export-artifact-twice":          "compares list items",
	"export-artifact-path-dots":      "paths are compared by component",
}

// schemaSays are documents that a prefix of schemaCannotSay covers, but whose
// rule the schema does state.
var schemaSays = map[string]bool{
	"egress-host-empty":     true,
	"egress-host-url":       true,
	"mount-source-relative": true,
	"mount-target-missing":  true,
	"mount-target-too-long": true,
}

func TestCorpusValid(t *testing.T) {
	published := publishedSchema(t)
	for name, text := range corpus(t, "valid") {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse(name, text)
			if err != nil {
				t.Fatal(err)
			}
			value := foreignValue(t, name, text)
			if err := published.Validate(value); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			ours, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc.Canonical()))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(name, "minus-zero") && !reflect.DeepEqual(ours, value) {
				t.Errorf("we read %v, another library %v", ours, value)
			}
			if theirs, err := jcs.Transform(doc.Canonical()); err != nil || !bytes.Equal(theirs, doc.Canonical()) {
				t.Errorf("canonical form: ours %s, another library's %s, %v", doc.Canonical(), theirs, err)
			}
			again, err := Parse("again.json", doc.Canonical())
			if err != nil {
				t.Fatalf("its canonical form is invalid: %v", err)
			}
			if again.SpecHash() != doc.SpecHash() {
				t.Errorf("its canonical form %s has another hash", doc.Canonical())
			}
		})
	}
}

// TestCorpusInvalid: each document is wrong in exactly one way, named for it,
// and holds the error in its first line or, for JSON, beside it in NAME.want.
func TestCorpusInvalid(t *testing.T) {
	published := publishedSchema(t)
	used := map[string]bool{}
	for name, text := range corpus(t, "invalid") {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(name, text)
			var list Errors
			if !errors.As(err, &list) || len(list) != 1 {
				t.Fatalf("want exactly one error, got:\n%v", err)
			}
			checkWant(t, name, text, strings.TrimPrefix(list[0].Error(), name+":"))
			base, _, _ := strings.Cut(name, ".")
			if list[0].Path == "" {
				if !strings.HasPrefix(base, "syntax-") && base != "id-missing" {
					t.Errorf("an error without a path is one of syntax: name the document syntax-*")
				}
				return
			}
			refused := published.Validate(foreignValue(t, name, text)) != nil
			prefix, reason := cannotSay(base)
			used[prefix] = true
			if refused && reason != "" {
				t.Errorf("the schema refuses it: take %q out of schemaCannotSay", prefix)
			}
			if !refused && reason == "" {
				t.Error("the schema accepts it")
			}
		})
	}
	for prefix := range schemaCannotSay {
		if !used[prefix] && !*update {
			t.Errorf("schemaCannotSay: no document is named %s", prefix)
		}
	}
}

func cannotSay(base string) (prefix, reason string) {
	if schemaSays[base] {
		return "", ""
	}
	for p, r := range schemaCannotSay {
		if base == p || strings.HasPrefix(base, p) && len(p) > len(prefix) {
			prefix, reason = p, r
			if base == p {
				return p, r
			}
		}
	}
	return prefix, reason
}

// checkWant compares an error with the one that the corpus has for it.
func checkWant(t *testing.T, name string, text []byte, got string) {
	t.Helper()
	file := filepath.Join("testdata/corpus/invalid", name)
	if strings.HasSuffix(name, ".json") {
		file += ".want"
		if *update {
			writeFile(t, file, []byte(got+"\n"))
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got+"\n" != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		return
	}
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	want, ok := strings.CutPrefix(string(first), "# want:")
	if !ok {
		t.Fatal(`the first line must be "# want: LINE:COL: …"`)
	}
	if *update {
		writeFile(t, file, []byte("# want: "+got+"\n"+string(rest)))
	} else if got != strings.TrimSpace(want) {
		t.Errorf("got  %s\nwant%s", got, want)
	}
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// corpus reads a folder of documents.
func corpus(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	dir := filepath.Join("testdata/corpus", folder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string][]byte{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".want") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		docs[e.Name()] = text
	}
	return docs
}

func publishedSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, document)
}

// foreignValue reads a document with libraries that are not ours.
func foreignValue(t *testing.T, name string, text []byte) any {
	t.Helper()
	if strings.HasSuffix(name, ".yaml") {
		var v any
		if err := yaml.UnmarshalWithOptions(text, &v, yaml.AllowDuplicateMapKey()); err != nil {
			t.Fatal(err)
		}
		var err error
		if text, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

package cell

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

const schemaFile = "../schema/executioncell.schema.json"

func TestSchemaIsCurrent(t *testing.T) {
	want := generateSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Errorf("%s is not what the types and rules say; run go generate ./cell", schemaFile)
	}
}

func TestSchemaIsACopy(t *testing.T) {
	clear(Schema())
	if !bytes.HasPrefix(Schema(), []byte("{")) {
		t.Error("a caller changed the schema of all others")
	}
}

// TestSchemaPatternsAcceptWhatChecksAccept holds the two sides of each rule
// together: a pattern may be wider than its check, never narrower.
func TestSchemaPatternsAcceptWhatChecksAccept(t *testing.T) {
	samples := []string{
		"a", "A1", "a.b", "a-b_c.", "a..b", ".a", "_a", "-a", "a b", "a\tb", "a*b", "a>b", "é", "a\nb",
		"abc-1", "ABC", "-", "0", "007", "1000:1000", "1000:", "65535", "root", "Root-1", "PATH", "x.y-z",
		"/", "/a", "/a/b", "/a//b", "/a/../b", "/proc", "/run", "/dev/null", "a/b", "./a", "../a", ".git/hooks",
		"*.example.com", "*.", "*", "EXAMPLE.com.", "bücher.example", "127.0.0.1", "::1", "10.0.0.0/8", "10.0.0.1/8",
		"fe80::1%eth0", "::ffff:1.2.3.4", "https://dns.example/q", "http://x", "HTTPS://X/", "ftp://x", "https://u@x",
		strings.Repeat("a", 64), strings.Repeat("a", 129),
	}
	for _, r := range rules {
		for _, side := range []struct {
			what    string
			check   func(string) string
			pattern string
		}{{"text", r.checkText, r.pattern}, {"key", r.checkKey, r.keyLike}} {
			if side.pattern == "" {
				continue
			}
			s := compile(t, map[string]any{"pattern": side.pattern})
			for _, sample := range samples {
				if side.check(sample) == "" && s.Validate(sample) != nil {
					t.Errorf("%s: the %s %q is valid, but does not match %s", r.field, side.what, sample, side.pattern)
				}
			}
		}
	}
}

// TestRulesNameFields finds rows of the rule table that no field uses.
func TestRulesNameFields(t *testing.T) {
	known := map[string]bool{}
	for _, typ := range documentTypes(reflect.TypeFor[Document]()) {
		for _, f := range fieldsOf(typ) {
			known[typ.Name()+"."+f.name] = true
		}
	}
	for _, r := range rules {
		if !known[strings.TrimSuffix(r.field, "[]")] {
			t.Errorf("rule for %s: there is no such field", r.field)
		}
	}
	for _, e := range exclusive {
		if !known[e.typ+"."+e.a] || !known[e.typ+"."+e.b] {
			t.Errorf("exclusive %s and %s of %s: there are no such fields", e.a, e.b, e.typ)
		}
	}
}

func compile(t testing.TB, document any) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource("cell.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("cell.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// documentTypes lists the struct types below t, t first.
func documentTypes(t reflect.Type) []reflect.Type {
	seen := map[reflect.Type]bool{}
	var list []reflect.Type
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			list = append(list, t)
			for _, f := range fieldsOf(t) {
				walk(t.Field(f.index).Type)
			}
		}
	}
	walk(t)
	return list
}

// conditions are the rules between the fields of one object that the schema
// language can say. The corpus proves that they agree with the validator.
var conditions = map[string]string{
	"Environment": `[{"if": {"properties": {"base": {"const": "none"}}, "required": ["base"]},
		"then": {"anyOf": [{"required": ["image"]}, {"required": ["rootfs"]}]}},
		{"if": {"properties": {"base": {"const": "system"}}, "required": ["base"]},
		"then": {"properties": {"image": false, "rootfs": false}}}]`,
	"Resolver": `[{"if": {"properties": {"protocol": {"const": "doh"}}}, "then": {"required": ["url"]},
		"else": {"required": ["endpoint"], "properties": {"url": false}}},
		{"if": {"properties": {"protocol": {"enum": ["do53-udp", "do53-tcp"]}}}, "then": {"properties": {"serverName": false}}}]`,
	"DNSSEC": `[{"if": {"properties": {"validate": {"const": true}}, "required": ["validate"]}, "then": true,
		"else": {"properties": {"failClosed": {"const": false}, "trustAnchorsPath": false}}}]`,
	"Mount": `[{"if": {"properties": {"readOnly": {"const": false}}, "required": ["readOnly"]}, "then": true,
		"else": {"properties": {"protect": {"maxItems": 0}}}}]`,
	"ExportTarget": `[{"if": {"properties": {"kind": {"const": "local"}}}, "then": {"properties": {"baseUrl": false, "bucket": false, "prefix": false, "region": false}}},
		{"if": {"properties": {"kind": {"const": "http"}}}, "then": {"properties": {"path": false, "bucket": false, "prefix": false, "region": false}}},
		{"if": {"properties": {"kind": {"const": "s3"}}}, "then": {"properties": {"path": false, "baseUrl": false}}}]`,
	"Run":        `[{"properties": {"argv": {"prefixItems": [{"minLength": 1}]}}}]`,
	"SetupPhase": `[{"properties": {"argv": {"prefixItems": [{"minLength": 1}]}}}]`,
	"EgressRule": `[{"if": {"properties": {"host": {"pattern": "/"}}, "required": ["host"]}, "then": {"properties": {"protocol": {"enum": ["tcp", "udp"]}}}},
		{"if": {"properties": {"protocol": {"const": "dns"}}, "required": ["protocol"]}, "then": {"properties": {"host": {"pattern": "^[0-9A-Fa-f.:]+$"}}}}]`,
}

// generateSchema writes the schema of the document types.
func generateSchema(t *testing.T) []byte {
	t.Helper()
	g := generator{comments: typeComments(t), defs: map[string]any{}}
	root := reflect.TypeFor[Document]()
	for _, typ := range documentTypes(root)[1:] {
		g.defs[typ.Name()] = g.object(t, typ)
	}
	out := g.object(t, root)
	out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	out["$id"] = "https://cellos.io/schema/executioncell.schema.json"
	out["title"] = "ExecutionCell"
	out["$defs"] = g.defs
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type generator struct {
	comments map[string]string // Type and Type.GoField to doc comment
	defs     map[string]any
}

func (g generator) object(t *testing.T, typ reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fieldsOf(typ) {
		field := typ.Field(f.index)
		s := g.value(field.Type, f.rule)
		if c := g.comments[typ.Name()+"."+field.Name]; c != "" {
			s["description"] = c
		}
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if c := g.comments[typ.Name()]; c != "" {
		out["description"] = c
	}
	all := []any{}
	for _, e := range exclusive {
		if e.typ == typ.Name() {
			all = append(all, map[string]any{"not": map[string]any{"required": []string{e.a, e.b}}})
		}
	}
	if text := conditions[typ.Name()]; text != "" {
		var extra []any
		if err := json.Unmarshal([]byte(text), &extra); err != nil {
			t.Fatalf("conditions of %s: %v", typ.Name(), err)
		}
		all = append(all, extra...)
	}
	if len(all) > 0 {
		out["allOf"] = all
	}
	return out
}

func (g generator) value(typ reflect.Type, r rule) map[string]any {
	switch typ.Kind() {
	case reflect.Pointer:
		return g.value(typ.Elem(), r)
	case reflect.Struct:
		return map[string]any{"$ref": "#/$defs/" + typ.Name()}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Interface:
		return map[string]any{"not": map[string]any{"type": "null"}}
	case reflect.Int64:
		limit := r.max
		if limit == 0 {
			limit = maxInteger
		}
		return map[string]any{"type": "integer", "minimum": r.min, "maximum": limit}
	case reflect.Slice:
		s := map[string]any{"type": "array", "items": g.value(typ.Elem(), r.items())}
		if r.minItems > 0 {
			s["minItems"] = r.minItems
		}
		if r.maxItems > 0 {
			s["maxItems"] = r.maxItems
		}
		if r.unique {
			s["uniqueItems"] = true
		}
		return s
	case reflect.Map:
		s := map[string]any{"type": "object", "additionalProperties": g.value(typ.Elem(), r.items())}
		if r.maxItems > 0 {
			s["maxProperties"] = r.maxItems
		}
		if r.keyLike != "" {
			s["propertyNames"] = map[string]any{"pattern": r.keyLike}
		}
		return s
	}
	s := map[string]any{"type": "string"}
	if r.enum != nil {
		s["enum"] = r.enum
		return s
	}
	if !r.empty {
		s["minLength"] = 1
	}
	if r.maxLen > 0 {
		s["maxLength"] = r.maxLen
	}
	if r.pattern != "" {
		s["pattern"] = r.pattern
	}
	return s
}

// typeComments reads the doc comments of the document types and their fields.
func typeComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "document.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	text := func(groups ...*ast.CommentGroup) string {
		for _, g := range groups {
			if s := strings.Join(strings.Fields(g.Text()), " "); s != "" {
				return s
			}
		}
		return ""
	}
	comments := map[string]string{}
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		spec := decl.Specs[0].(*ast.TypeSpec)
		comments[spec.Name.Name] = text(decl.Doc)
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				comments[spec.Name.Name+"."+name.Name] = text(f.Doc, f.Comment)
			}
		}
	}
	return comments
}

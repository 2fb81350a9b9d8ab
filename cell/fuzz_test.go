package cell

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// FuzzParse: no bytes make Parse panic or return more than it promises, and a
// valid document survives being written as JSON and is valid by its schema.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"valid", "invalid"} {
		for name, text := range corpus(f, folder) {
			f.Add(name, text)
		}
	}
	published := publishedSchema(f)
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		doc, err := Parse(name, text)
		if err != nil {
			checkRefusal(t, doc, err, name)
			return
		}
		again, err := Parse("again.json", doc.Canonical())
		if err != nil {
			t.Fatalf("%s is invalid: %v", doc.Canonical(), err)
		}
		if again.SpecHash() != doc.SpecHash() || !bytes.Equal(again.Canonical(), doc.Canonical()) {
			t.Errorf("%s became %s", doc.Canonical(), again.Canonical())
		}
		if !sameDeclaration(doc, again) {
			t.Errorf("the Go values of %s differ", doc.Canonical())
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc.Canonical()))
		if err != nil {
			t.Fatalf("%s is no JSON: %v", doc.Canonical(), err)
		}
		if err := published.Validate(value); err != nil {
			t.Errorf("the schema refuses the valid %s: %v", doc.Canonical(), err)
		}
		for _, u := range doc.Unbuilt() {
			if line, col := doc.Position(u.Path); line != u.Line || col != u.Col || line < 1 {
				t.Errorf("%s stands at %d:%d and at %d:%d", u.Path, line, col, u.Line, u.Col)
			}
		}
	})
}

func checkRefusal(t *testing.T, doc *Document, err error, name string) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) || doc != nil {
		t.Fatalf("%T, %v", err, doc)
	}
	if n := len(invalid.Errors); n < 1 || n > maxErrors+1 {
		t.Errorf("%d errors", n)
	}
	for _, e := range invalid.Errors {
		if e.Line < 1 || e.Col < 1 || e.Rule == "" || e.File != name {
			t.Errorf("%+v", e)
		}
		if strings.ContainsAny(e.Error(), "\x00\x07\x1b\n\r") {
			t.Errorf("an error has control characters: %q", e.Error())
		}
		if len(e.Value) > 12*maxShown || len(e.Error()) > 1<<16+len(name)*4 {
			t.Errorf("an error is %d bytes long", len(e.Error()))
		}
	}
	if id, ok := ID(err); ok && checkID(id) != "" {
		t.Errorf("the id %q is not valid", id)
	}
}

// sameDeclaration compares two documents without their places.
func sameDeclaration(a, b *Document) bool {
	x, y := *a, *b
	x.source, y.source = source{}, source{}
	return reflect.DeepEqual(x, y)
}

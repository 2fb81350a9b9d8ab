package cell

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// source is what Parse keeps of the text: the tree has every place, and it is
// what the hash is about.
type source struct {
	name string
	root *node
}

// Parse reads and validates one document. A name that ends in .json is read as
// JSON, .yaml and .yml as YAML; under any other name, "{" at the start means
// JSON. A non-nil error is an *InvalidError that holds every error.
//
// What Parse returns must not be changed: SpecHash, Position and Unbuilt speak
// about the text.
func Parse(name string, src []byte) (*Document, error) {
	p := &problems{file: name}
	root, err := read(name, src)
	if syntax := (*syntaxError)(nil); errors.As(err, &syntax) {
		p.add(syntax.at, nil, "", syntax.rule)
		return nil, p.err("")
	}
	doc := &Document{source: source{name: name, root: root}}
	decode(root, doc, p)
	id := validID(root)
	validate(doc, p)
	if err := p.err(id); err != nil {
		return nil, err
	}
	return doc, nil
}

// read turns the text into a tree. Its errors are *syntaxError.
func read(name string, src []byte) (*node, error) {
	if len(src) > MaxBytes {
		return nil, &syntaxError{pos{1, 1}, fmt.Sprintf("the document has %d bytes; at most %d are read", len(src), MaxBytes)}
	}
	text := string(src)
	if !utf8.ValidString(text) {
		var c cursor
		return nil, &syntaxError{c.place(text, len(validPrefix(text))), "this is not UTF-8"}
	}
	if strings.HasPrefix(text, "\ufeff") {
		return nil, &syntaxError{pos{1, 1}, "the document starts with a byte order mark; save it without one"}
	}
	readText := readYAML
	if isJSON(name, text) {
		readText = readJSON
	}
	root, err := readText(text)
	if err != nil {
		return nil, err
	}
	if root.kind != kindObject {
		return nil, &syntaxError{root.at, fmt.Sprintf("a document is an object with apiVersion, kind and spec, not %s", root.kind)}
	}
	return root, nil
}

func isJSON(name, text string) bool {
	lower := strings.ToLower(name)
	switch {
	case strings.HasSuffix(lower, ".json"):
		return true
	case strings.HasSuffix(lower, ".yaml"), strings.HasSuffix(lower, ".yml"):
		return false
	}
	return strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{")
}

func validPrefix(s string) string {
	for i, c := range s {
		if c == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return s[:i]
			}
		}
	}
	return s
}

// validID returns spec.id if it is there once and valid.
func validID(root *node) string {
	var found *node
	n := 0
	for _, spec := range root.fields {
		if spec.name != "spec" {
			continue
		}
		n++
		for _, f := range spec.value.fields {
			if f.name == "id" {
				n++
				found = f.value
			}
		}
	}
	if n != 2 || found == nil || found.kind != kindText || lookupRule("Spec.id").checkText(found.text) != "" {
		return ""
	}
	return found.text
}

// tree is the document as it was written. A Document that was built in memory
// is written as JSON first.
func (d *Document) tree() *node {
	if d.source.root != nil {
		return d.source.root
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic("cell: a document always has a JSON form: " + err.Error())
	}
	root, err := readJSON(string(text))
	if err != nil {
		panic("cell: encoding/json wrote what readJSON refuses: " + err.Error())
	}
	return root
}

// Canonical returns the RFC 8785 form of the document as it was written. It is
// a document itself, equal to d and with the same hash.
func (d *Document) Canonical() []byte { return d.tree().appendJCS(nil) }

// SpecHash returns the SHA-256 of Canonical in lower-case hex. It does not
// depend on the syntax, the order of the fields or the white space.
func (d *Document) SpecHash() string {
	sum := sha256.Sum256(d.Canonical())
	return hex.EncodeToString(sum[:])
}

// Name is the file name that d was parsed under.
func (d *Document) Name() string { return d.source.name }

// Position returns where the value at a path such as
// spec.authority.egressRules[2].port stands, from 1. For a field that is
// absent it is the place of what should contain it; for a document that was not
// parsed it is 0, 0.
func (d *Document) Position(path string) (line, col int) {
	if d.source.root == nil {
		return 0, 0
	}
	_, nearest := d.source.root.find(path)
	return int(nearest.at.line), int(nearest.at.col)
}

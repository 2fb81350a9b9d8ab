package cell

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// decoder fills Go values from nodes. It notes every difference and goes on.
type decoder struct {
	*problems
}

// decode fills doc from root and checks each value by its own rule.
func decode(root *node, doc *Document, p *problems) {
	d := decoder{p}
	d.value(root, reflect.ValueOf(doc).Elem(), nil, rule{})
}

func (d decoder) wrong(n *node, at *path, rule string) {
	d.add(n.at, at, n.shown(), rule)
}

// value fills v from n. r is the rule of the field that holds v.
func (d decoder) value(n *node, v reflect.Value, at *path, r rule) {
	if n.kind == kindNull {
		d.wrong(n, at, "must be "+wanted(v.Type())+"; leave the field out to declare nothing")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), at, r)
	case reflect.Struct:
		if d.is(n, kindObject, at) {
			d.object(n, v, at)
		}
	case reflect.Slice:
		if d.is(n, kindList, at) {
			d.list(n, v, at, r)
		}
	case reflect.Map:
		if d.is(n, kindObject, at) {
			d.dict(n, v, at, r)
		}
	case reflect.String:
		if d.is(n, kindText, at) {
			d.text(n, at, r)
			v.SetString(n.text)
		}
	case reflect.Int64:
		if d.is(n, kindNumber, at) {
			i, broken := n.integer()
			if broken == "" {
				broken = r.checkInt(i)
			}
			if broken != "" {
				d.wrong(n, at, broken)
			}
			v.SetInt(i)
		}
	case reflect.Bool:
		if d.is(n, kindBool, at) {
			v.SetBool(n.text == "true")
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(d.any(n, at)))
	default:
		panic("cell: no decoding for " + v.Type().String())
	}
}

// wanted names the kind of node that fills a value of type t.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Struct, reflect.Map:
		return kindObject.String()
	case reflect.Slice:
		return kindList.String()
	case reflect.Int64:
		return "an integer"
	case reflect.Bool:
		return kindBool.String()
	case reflect.Interface:
		return "a value"
	}
	return kindText.String()
}

func (d decoder) is(n *node, want kind, at *path) bool {
	if n.kind == want {
		return true
	}
	rule := "must be " + want.String()
	if want == kindNumber {
		rule = ruleInteger
	}
	if want == kindText && (n.kind == kindNumber || n.kind == kindBool) {
		rule += "; put it in quotes"
	}
	d.wrong(n, at, rule)
	return false
}

func (d decoder) object(n *node, v reflect.Value, at *path) {
	fields := fieldsOf(v.Type())
	seen := make([]bool, len(fields))
	for _, f := range n.fields {
		where := at.field(f.name)
		i := slices.IndexFunc(fields, func(s structField) bool { return s.name == f.name })
		if i < 0 {
			d.add(f.at, at, quote(f.name), "is not a field here"+suggest(f.name, fields))
			continue
		}
		if seen[i] {
			d.add(f.at, where, "", "is declared twice")
			continue
		}
		seen[i] = true
		d.value(f.value, v.Field(fields[i].index), where, fields[i].rule)
	}
	for i, f := range fields {
		if f.required && !seen[i] {
			d.add(n.at, at.field(f.name), "", "is required")
		}
	}
}

// structField is a field of a document type.
type structField struct {
	name     string // in the document
	index    int
	required bool
	rule     rule
}

// fieldsOf lists the fields of a document type. A field that its tag does not
// let be left out is required.
func fieldsOf(t reflect.Type) []structField {
	if known, ok := fieldCache.Load(t); ok {
		return known.([]structField)
	}
	list := make([]structField, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		list = append(list, structField{name: name, index: i, required: options == "", rule: ruleOf(t, name)})
	}
	fieldCache.Store(t, list)
	return list
}

// fieldCache keeps what fieldsOf found: types do not change.
var fieldCache sync.Map

func (d decoder) list(n *node, v reflect.Value, at *path, r rule) {
	if broken := r.checkCount(len(n.items)); broken != "" {
		d.wrong(n, at, broken)
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	var seen map[string]bool
	if r.unique {
		seen = make(map[string]bool, len(n.items))
	}
	for i, item := range n.items {
		where := at.at(i)
		d.value(item, out.Index(i), where, r.items())
		if r.unique && item.kind == kindText {
			if seen[item.text] {
				d.wrong(item, where, "is listed twice")
			}
			seen[item.text] = true
		}
	}
	v.Set(out)
}

func (d decoder) dict(n *node, v reflect.Value, at *path, r rule) {
	if broken := r.checkCount(len(n.fields)); broken != "" {
		d.wrong(n, at, broken)
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.fields))
	for _, f := range n.fields {
		where := at.key(f.name)
		name := reflect.ValueOf(f.name)
		if out.MapIndex(name).IsValid() {
			d.add(f.at, where, "", "is declared twice")
			continue
		}
		if broken := r.checkKey(f.name); broken != "" {
			d.add(f.at, at, quote(f.name), broken)
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(f.value, value, where, r.items())
		out.SetMapIndex(name, value)
	}
	v.Set(out)
}

func (d decoder) text(n *node, at *path, r rule) {
	if broken := r.checkText(n.text); broken != "" {
		d.wrong(n, at, broken)
	}
}

// any decodes a value whose shape is not known yet.
func (d decoder) any(n *node, at *path) any {
	switch n.kind {
	case kindText:
		return n.text
	case kindBool:
		return n.text == "true"
	case kindNumber:
		i, broken := n.integer()
		if broken != "" {
			d.wrong(n, at, broken)
		}
		return i
	case kindList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = d.any(item, at.at(i))
		}
		return list
	case kindObject:
		object := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			if _, twice := object[f.name]; twice {
				d.add(f.at, at.field(f.name), "", "is declared twice")
				continue
			}
			object[f.name] = d.any(f.value, at.field(f.name))
		}
		return object
	}
	return nil
}

// suggest names the field that was probably meant.
func suggest(name string, fields []structField) string {
	best, bestDistance := "", 1+max(1, len(name)/3)
	for _, f := range fields {
		if d := distance(strings.ToLower(name), strings.ToLower(f.name), bestDistance); d < bestDistance {
			best, bestDistance = f.name, d
		}
	}
	if best != "" {
		return "; did you mean " + quote(best) + "?"
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return "; the fields are " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance of a and b, or limit if it is no less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}

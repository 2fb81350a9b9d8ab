package cell

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Error is one thing that is wrong with a document.
type Error struct {
	File      string
	Line, Col int    // from 1, Col in characters
	Path      string // spec.authority.egressRules[2].port; empty for a syntax error
	Value     string // as it is shown, escaped and cut; empty where there is none
	Rule      string // what a valid value keeps
}

// Error renders e as file:line:col: path: value: rule.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", clean(e.File), e.Line, e.Col)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Value != "" {
		b.WriteString(e.Value + ": ")
	}
	b.WriteString(e.Rule)
	return b.String()
}

// Errors is everything that is wrong with a document, in the order of the file.
type Errors []*Error

// Error renders one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// An InvalidError is why Parse refused a document.
type InvalidError struct {
	Errors Errors
	// SpecID is spec.id if the document could be read that far and the id
	// itself is valid: the refusal can then be recorded under its name.
	SpecID string
}

func (e *InvalidError) Error() string { return e.Errors.Error() }

// Unwrap gives the list.
func (e *InvalidError) Unwrap() error { return e.Errors }

// ID returns the valid spec.id of the document that err refuses, if it has one.
func ID(err error) (id string, ok bool) {
	var invalid *InvalidError
	if !errors.As(err, &invalid) || invalid.SpecID == "" {
		return "", false
	}
	return invalid.SpecID, true
}

// maxErrors bounds how many errors of one document are kept: a hostile
// document can hold one in every few bytes.
const maxErrors = 200

// problems collects the errors of one document.
type problems struct {
	file    string
	list    Errors
	omitted int
}

func (p *problems) add(at pos, where *path, value, rule string) {
	if len(p.list) == maxErrors {
		p.omitted++
		return
	}
	p.list = append(p.list, &Error{
		File: p.file, Line: int(at.line), Col: int(at.col),
		Path: where.String(), Value: value, Rule: rule,
	})
}

// err returns what was collected as an *InvalidError, or nil.
func (p *problems) err(id string) error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if p.omitted > 0 {
		last := p.list[len(p.list)-1]
		p.list = append(p.list, &Error{
			File: p.file, Line: last.Line, Col: last.Col,
			Rule: fmt.Sprintf("%d more errors are not shown", p.omitted),
		})
	}
	return &InvalidError{Errors: p.list, SpecID: id}
}

// A syntaxError is text that is no document at all.
type syntaxError struct {
	at   pos
	rule string
}

func (e *syntaxError) Error() string { return e.rule }

// maxShown is how many characters of a value an error shows.
const maxShown = 80

// quote shows s in double quotes, control and other unprintable characters
// escaped, long text cut.
func quote(s string) string {
	cut := ""
	if utf8.RuneCountInString(s) > maxShown {
		for i := range s {
			if utf8.RuneCountInString(s[:i]) == maxShown {
				s, cut = s[:i], "…"
				break
			}
		}
	}
	return strconv.Quote(s) + cut
}

// clean is quote without the quotes, for a file name.
func clean(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

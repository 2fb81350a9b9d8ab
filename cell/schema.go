package cell

import (
	"slices"

	"cellos.io/cellos/schema"
)

// Schema is generated from the types and the rules of this package, with their
// doc comments as descriptions.
//
//go:generate go test -run ^TestSchemaIsCurrent$ . -update

// Schema returns the contract as JSON Schema (draft 2020-12). It accepts every
// valid document. What it cannot say, rules between distant fields above all,
// Parse says: corpus_test.go has the list.
func Schema() []byte { return slices.Clone(schema.ExecutionCell) }

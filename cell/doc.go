// Package cell is the ExecutionCell document: what a cell may use, and for how
// long.
//
// Parse reads a document from JSON or YAML, decodes it strictly and validates
// it. It returns either a document that keeps every rule of the contract, or
// all of its errors at once, each with its place in the file, the path of the
// field, the value and the rule. What a document declares and this build does
// not enforce is in Document.Unbuilt, from one table. Schema is the same
// contract as JSON Schema, for editors.
//
// The package is pure: it reads bytes and returns values. Whether this host can
// enforce a document is decided by package plan, whether it is wanted by
// package policy.
package cell

// Package schema holds the published JSON Schemas (draft 2020-12). They are
// generated: each document package has a test that writes its own.
package schema

import _ "embed"

// ExecutionCell is the schema of ExecutionCell documents, written by package
// cell.
//
//go:embed executioncell.schema.json
var ExecutionCell []byte

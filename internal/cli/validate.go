package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/supervisor"
)

type validateOptions struct {
	env    *Env
	path   string
	output string
}

func newValidateCmd(env *Env) *cobra.Command {
	o := &validateOptions{env: env}
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a document without running it",
		Long: `Checks a document, JSON or YAML, and reports every error at once, each with
file:line:column, the field, its value and the rule. FILE may be - for standard
input.

Exit codes: 0 valid, 120 invalid, 122 valid but it declares what this build
cannot enforce.`,
		Example: "  cellos validate cell.yaml\n  cellos validate -o json - < cell.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.path = args[0]
			return o.run()
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// finding is one line of the output in JSON.
type finding struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"`
	Col   int    `json:"column,omitempty"`
	Path  string `json:"path,omitempty"`
	Value string `json:"value,omitempty"`
	Rule  string `json:"rule"`
}

func (o *validateOptions) run() error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %s: must be text or json", o.output)
	}
	name, src, err := compose.ReadDocument(o.path, o.env.Stdin)
	if err != nil {
		return &ExitError{Code: supervisor.ExitInvalidSpec, Err: err}
	}
	doc, parseErr := cell.Parse(name, src)
	findings := []finding{}
	var invalid cell.Errors
	if errors.As(parseErr, &invalid) {
		for _, e := range invalid {
			findings = append(findings, finding{e.File, e.Line, e.Col, e.Path, e.Value, e.Rule})
		}
	}
	code := 0
	switch {
	case parseErr != nil:
		code = supervisor.ExitInvalidSpec
	case len(doc.Unbuilt()) > 0:
		code = supervisor.ExitCannot
		for _, u := range doc.Unbuilt() {
			findings = append(findings, finding{File: name, Line: u.Line, Col: u.Col, Path: u.Path, Rule: u.What})
		}
	}
	if o.output == "json" {
		enc := json.NewEncoder(o.env.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(struct {
			Valid    bool      `json:"valid"`
			Code     int       `json:"code"`
			Findings []finding `json:"findings"`
		}{parseErr == nil, code, findings}); err != nil {
			return err
		}
		return exitCode(code)
	}
	return o.text(name, code, doc, parseErr)
}

func (o *validateOptions) text(name string, code int, doc *cell.Document, parseErr error) error {
	switch code {
	case 0:
		_, err := fmt.Fprintf(o.env.Stdout, "%s: valid\n", name)
		return err
	case supervisor.ExitInvalidSpec:
		fmt.Fprintln(o.env.Stderr, parseErr)
		var errs cell.Errors
		errors.As(parseErr, &errs)
		return &ExitError{Code: code, Err: fmt.Errorf("%d errors in %s", len(errs), name)}
	}
	for _, u := range doc.Unbuilt() {
		fmt.Fprintf(o.env.Stderr, "%s:%d:%d: %s: %s\n", name, u.Line, u.Col, u.Path, u.What)
	}
	return &ExitError{Code: code, Err: fmt.Errorf("%s is valid, but this build cannot enforce it", name)}
}

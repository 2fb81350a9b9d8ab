package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/supervisor"
)

type explainOptions struct {
	env    *Env
	path   string
	output string
}

func newExplainCmd(env *Env) *cobra.Command {
	o := &explainOptions{env: env}
	cmd := &cobra.Command{
		Use:   "explain FILE",
		Short: "Say in words what a document allows here, and what enforces it",
		Long: `Compiles a document for this host and user, as cellos run would, and says in
words what the cell may resolve, connect to, read and write, which secrets it is
given, when it ends, what it may consume, what enforces each of these, and what is
refused and why. Nothing is run. FILE may be - for standard input.

Settings are the environment variables of cellos-supervisor. With -o json the
plan itself is printed: everything that a backend would apply.

Exit codes: 0 it would run, 120 the document is invalid, 122 something cannot be
enforced here, 125 the settings are wrong.`,
		Example: `  cellos explain cell.yaml
  cellos run --allow example.com:443 --mount . --print-spec -- make | cellos explain -
  cellos explain -o json cell.yaml | jq .network.bound`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			o.path = args[0]
			return o.run()
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "`FORMAT`: text or json")
	return cmd
}

func (o *explainOptions) run() error {
	if o.output != "text" && o.output != "json" {
		return unusable(fmt.Errorf("-o %s: must be text or json", o.output))
	}
	settings, err := compose.ReadSettings(o.env.Environ())
	if err != nil {
		return &ExitError{Code: compose.SettingsCode(err), Err: err}
	}
	name, src, err := compose.ReadDocument(o.path, o.env.Stdin)
	if err != nil {
		return &ExitError{Code: supervisor.ExitInvalidSpec, Err: err}
	}
	doc, err := cell.Parse(name, src)
	if err != nil {
		fmt.Fprintln(o.env.Stderr, err)
		var invalid cell.Errors
		errors.As(err, &invalid)
		return &ExitError{Code: supervisor.ExitInvalidSpec, Err: fmt.Errorf("%s in %s", count(len(invalid), "error", "errors"), console.Escape(name))}
	}
	p, refusals := compose.Plan(settings, doc)
	if o.output == "json" {
		err = compose.WritePlan(o.env.Stdout, p, refusals)
	} else {
		_, err = fmt.Fprint(o.env.Stdout, plan.Explain(doc, p, refusals))
	}
	if err != nil {
		return unusable(err)
	}
	if len(refusals) > 0 {
		return exitCode(supervisor.ExitCannot)
	}
	return nil
}

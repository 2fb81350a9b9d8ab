package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/supervisor"
)

type gcOptions struct {
	env    *Env
	output string
}

func newGCCmd(env *Env) *cobra.Command {
	o := &gcOptions{env: env}
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Clean up after supervisors that were killed",
		Long: `Finishes the runs of supervisors that no longer live: removes what they left on
this host, gives leases back and completes their trails. Runs whose supervisor
lives are not touched. Every supervisor does this when it starts; the command is
for hosts that start none. It may be killed and repeated at any time.

Exit codes: 0 nothing is left, 119 something could not be removed, 125 the
directories cannot be used.`,
		Example: "  cellos gc\n  CELLOS_STATE_DIR=/srv/cellos cellos gc -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func (o *gcOptions) run(cmd *cobra.Command) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %s: must be text or json", o.output)
	}
	settings := compose.CollectSettings(o.env.Getenv)
	sup, release, err := compose.Build(settings, compose.Request{
		Environ: os.Environ(),
		Console: console.New(o.env.Stderr, console.Options{Program: "cellos"}),
	})
	if err != nil {
		return unusable(err)
	}
	defer release()
	collected, err := sup.Collect(cmd.Context())
	if printErr := o.print(collected); printErr != nil {
		return printErr
	}
	for _, c := range collected {
		if c.Remaining != nil {
			return &ExitError{Code: supervisor.ExitIncomplete, Err: errors.New("something could not be removed; run cellos gc again")}
		}
	}
	if err != nil {
		return &ExitError{Code: supervisor.ExitIncomplete, Err: err}
	}
	return nil
}

func (o *gcOptions) print(collected []supervisor.Collected) error {
	if o.output == "json" {
		type run struct {
			RunID     string `json:"runId"`
			Reason    string `json:"reason"`
			Remaining string `json:"remaining,omitempty"`
		}
		runs := []run{}
		for _, c := range collected {
			r := run{RunID: c.RunID, Reason: c.Reason}
			if c.Remaining != nil {
				r.Remaining = c.Remaining.Error()
			}
			runs = append(runs, r)
		}
		return json.NewEncoder(o.env.Stdout).Encode(runs)
	}
	if len(collected) == 0 {
		_, err := fmt.Fprintln(o.env.Stdout, "nothing to clean up")
		return err
	}
	for _, c := range collected {
		if _, err := fmt.Fprintln(o.env.Stdout, console.Escape(c.String())); err != nil {
			return err
		}
	}
	return nil
}

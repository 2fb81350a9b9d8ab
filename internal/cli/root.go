// Package cli is the command line of cellos. Each command is an options
// struct, a constructor and a run function.
package cli

import (
	"github.com/spf13/cobra"

	"cellos.io/cellos/internal/version"
)

// New returns the root command.
func New(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "cellos",
		Short: "Run code that nobody has fully read, with exactly the authority you declare",
		Long: `CellOS runs a program in an execution cell: a document declares which secrets,
names, ports and files it may use, and for how long. Everything else does not
exist for it. Each step and each decision is a signed event, and the last event
proves that everything the cell created is gone.`,
		Example: `  cellos run cell.yaml              run a document
  cellos run -- sh -c 'ls /'        run a program that may do nothing but this
  cellos explain cell.yaml          say in words what it allows here
  cellos validate cell.yaml         check a document without running it
  cellos audit verify               verify the journal of this host
  cellos audit show events.jsonl    read a trail
  cellos doctor                     what this host can do, and what to change
  cellos gc                         clean up after supervisors that were killed`,
		Version:           version.String(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetIn(env.Stdin)
	root.AddCommand(
		newRunCmd(env),
		newExplainCmd(env),
		newValidateCmd(env),
		newSchemaCmd(env),
		newAuditCmd(env),
		newKeysCmd(env),
		newGCCmd(env),
		newDoctorCmd(env),
		newVersionCmd(env),
	)
	return root
}

package cli

import (
	"github.com/spf13/cobra"

	"cellos.io/cellos/cell"
)

func newSchemaCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a document (draft 2020-12)",
		Example: `  cellos schema > executioncell.schema.json
  # then, in the first line of cell.yaml, for editors that know the convention:
  # yaml-language-server: $schema=executioncell.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := env.Stdout.Write(cell.Schema())
			return err
		},
	}
}

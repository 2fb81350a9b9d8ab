package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"cellos.io/cellos/internal/version"
)

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Stdout, version.String())
			return err
		},
	}
}

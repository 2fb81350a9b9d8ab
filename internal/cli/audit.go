package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"cellos.io/cellos/journal"
)

func newAuditCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify and read the trail that cells leave",
		Long: `Every step of a cell and every decision about it is a signed record. The records
of a run form a chain, in which nothing can be changed, dropped, moved or
repeated without it showing. The chain of the host says which runs there were,
and where each one ended.

The trail of this host is in the state directory (CELLOS_STATE_DIR, by default
/var/lib/cellos). Files with copies of it, such as CELLOS_JSONL_SINK_PATH makes
them, can be verified anywhere.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerifyCmd(env), newAuditShowCmd(env), newAuditHeadCmd(env))
	return cmd
}

func newAuditHeadCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "head",
		Short: "Print the anchor of this host's trail",
		Long: `Prints SEQ:DIGEST of the last record in the chain of this host. Keep it where the
host cannot change it: with --head, audit verify then finds out if the end of
the chain was cut off since, which nothing on the host itself can show.`,
		Example: `  cellos audit head | ssh auditor@elsewhere 'cat >> heads.txt'
  cellos audit verify --head "$(tail -n1 heads.txt)"`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			head, err := journal.Head(env.stateDir())
			if errors.Is(err, os.ErrNotExist) {
				err = fmt.Errorf("there is no trail in %s yet (CELLOS_STATE_DIR names another directory)", env.stateDir())
			}
			if err != nil {
				return unusable(err)
			}
			_, err = fmt.Fprintln(env.Stdout, head)
			return err
		},
	}
}

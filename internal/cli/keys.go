package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cellos.io/cellos/event"
	"cellos.io/cellos/journal"
)

func newKeysCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Show the keys that this host signs with",
		Long: `A host makes an Ed25519 key at its first run and signs its trail with it. The
public half is what an auditor needs: give it to them before there is anything
to doubt.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysListCmd(env), newKeysPublicCmd(env))
	return cmd
}

func newKeysListCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys of this host",
		Long: `Lists the keys whose public half is on this host. "secret here" says whether the
host can sign with the key by itself; a key that came by environment is not kept.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys, err := hostKeys(env)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KID\tALGORITHM\tSECRET HERE")
			for _, kid := range keys.KIDs() {
				key, _ := keys.Get(kid)
				here := "no"
				if _, err := os.Stat(filepath.Join(journal.KeysDir(env.stateDir()), kid+".key")); err == nil {
					here = "yes"
				}
				fmt.Fprintf(table, "%s\t%s\t%s\n", kid, key.Alg, here)
			}
			return table.Flush()
		},
	}
}

func newKeysPublicCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "public [KID…]",
		Short: "Print public keys as a keys file",
		Long: `Prints a keys file for cellos audit verify --keys, with all public keys of this
host or those named.`,
		Example: `  cellos keys public > keys.json
  cellos audit verify events.jsonl --keys keys.json`,
		RunE: func(_ *cobra.Command, kids []string) error {
			keys, err := hostKeys(env)
			if err != nil {
				return err
			}
			if len(kids) > 0 {
				chosen := new(event.Keys)
				for _, kid := range kids {
					key, ok := keys.Get(kid)
					if !ok {
						return unusable(fmt.Errorf("there is no key %.140q here: see cellos keys list", kid))
					}
					if err := chosen.Add(kid, key); err != nil {
						return unusable(err)
					}
				}
				keys = chosen
			}
			text, err := event.FormatKeys(keys)
			if err != nil {
				return unusable(err)
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
}

func hostKeys(env *Env) (*event.Keys, error) {
	keys, err := journal.PublicKeys(env.stateDir())
	if err != nil {
		return nil, unusable(err)
	}
	if len(keys.KIDs()) == 0 {
		return nil, unusable(fmt.Errorf("there are no keys in %s: the first run makes one (CELLOS_STATE_DIR names another directory)", journal.KeysDir(env.stateDir())))
	}
	return keys, nil
}

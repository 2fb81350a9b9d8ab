package plan

import (
	"fmt"

	"cellos.io/cellos/cell"
)

// SecretsDir is where a cell finds secrets that are delivered as files.
const SecretsDir = "/run/secrets"

// delivery decides how secrets reach the workload.
func (c *compiler) delivery() {
	run := c.spec.Run
	if len(c.plan.Secrets) == 0 {
		return
	}
	c.plan.Delivery = cell.DeliverEnv
	if run == nil || run.SecretDelivery == "" {
		return
	}
	c.plan.Delivery = run.SecretDelivery
	if run.SecretDelivery == cell.DeliverFile && c.host.Files == nil {
		c.refuse("spec.run.secretDelivery", fmt.Sprintf("backend %s has no file view of its own to deliver files in", c.host.Backend),
			"set CELLOS_CELL_BACKEND=native, or deliver by env")
	}
}

// secrets is the place of secrets that are delivered as files.
func (f *fileCompiler) secrets() {
	if f.plan.Delivery == cell.DeliverFile {
		f.add(FileEntry{
			Target: SecretsDir, Kind: KindScratch, Mode: 0o700, User: true, NoExec: true,
			Why: "the secrets, each in a file that only the cell's user may read",
		})
	}
}

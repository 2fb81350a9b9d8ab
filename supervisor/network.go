package supervisor

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"cellos.io/cellos/ledger"
)

// openNetwork boots the cell and opens its network: the resolver, and on a
// backend with a relay the firewall and the way out. All of it is there before
// the workload can use it.
func (c *run) openNetwork(ctx context.Context) error {
	if err := c.boot(ctx); err != nil {
		return err
	}
	if c.plan.Network != nil {
		return c.openEgress(ctx)
	}
	return c.openLoopbackResolver()
}

// boot clones PID 1 with the namespaces of the plan.
func (c *run) boot(ctx context.Context) error {
	c.plan.RunID = c.id
	resources, err := c.s.Backend.Resources(c.plan)
	if err != nil {
		return refuse(ExitCannot, reasonCannot, err)
	}
	for _, r := range resources {
		if _, err := c.ledger.Intend(ledger.Kind(r.Kind), r.Key); err != nil {
			return err
		}
	}
	lockPath := filepath.Join(c.dir.path, initLockName)
	entry, err := c.ledger.Intend(kindProcess, lockPath)
	if err != nil {
		return err
	}
	lock, err := tryLock(lockPath)
	if err != nil {
		return err
	}
	defer lock.Close() // PID 1 has its own copy; ours must not outlive the boot
	streams, err := openStreams(c.s.Stdin, c.s.Stdout, c.s.Stderr)
	if err != nil {
		return err
	}
	c.streams = streams
	booted, err := c.s.Backend.Boot(ctx, c.plan, streams.child, lock)
	streams.handedOver()
	if err != nil {
		return fmt.Errorf("boot the cell: %w", err)
	}
	c.cell = booted
	started, err := startTime(booted.PID())
	if err != nil {
		return fmt.Errorf("boot the cell: %w", err)
	}
	// Until this line is written PID 1 knows of no workload, so a clean-up
	// that does not find it has only PID 1 to wait for.
	return c.ledger.Bind(entry, map[string]string{
		attrPID:       strconv.Itoa(booted.PID()),
		attrStartTime: started,
		attrBoot:      bootID(),
	})
}

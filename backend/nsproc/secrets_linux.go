package nsproc

import (
	"context"
	"errors"
	"path"
	"strings"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
)

// secretMode lets the owner read.
const secretMode = 0o400

// Deliver writes files into the directory for secrets, before Start. Their
// owner is the workload's user, who alone may read them.
func (c *Cell) Deliver(ctx context.Context, files []backend.File) error {
	s := c.secrets
	if s == nil {
		return errors.New("deliver secrets: the cell has no place for files")
	}
	var steps []Step
	as := func(name string, u *cellinit.User) {
		if u != nil {
			steps = append(steps, Step{name, cellinit.Step{Op: cellinit.OpFSID, Flags: uint64(u.UID), Mode: u.GID}})
		}
	}
	as("act as the cell's user", s.Owner)
	for _, f := range files {
		if f.Name != path.Base(f.Name) || f.Name == ".." || f.Name == "." {
			return errors.New("deliver secrets: a name is a path")
		}
		target := path.Join(s.Dir, f.Name)
		steps = append(steps, Step{"write " + target, cellinit.Step{
			Op: cellinit.OpFile, Target: strings.TrimPrefix(target, "/"), Mode: secretMode, Data: string(f.Content)}})
	}
	as("act as PID 1", s.Init)
	return c.setup(ctx, Setup{Steps: steps})
}

package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/plan"
)

const cloneFlags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// initID is PID 1 of a cell with ids of its own: the last of the block, which
// no workload can be.
const initID = blockSize - 1

// Boot clones PID 1 and has it make the cell of the plan. Nothing of the
// workload runs before Start. Stdio and lock are duplicated into the cell and
// stay the caller's to close; the lock is then held by PID 1 alone, until its
// death, if the caller closes it. The calling thread is bound to the cell's
// life: see nsproc.Boot.
func (b *Backend) Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (*nsproc.Cell, error) {
	if p.Files == nil || p.Identity == nil || p.Limits == nil {
		return nil, errors.New("boot: the plan is for a backend without files and ids of its own")
	}
	init := nsproc.Init{Exe: b.exe, Stdio: stdio, Held: []*os.File{lock}}
	init.Sys = syscall.SysProcAttr{Cloneflags: cloneFlags, AmbientCaps: setupCapabilities(p.Identity.Block)}
	var ids *block
	if p.Identity.Block {
		var err error
		if ids, err = takeBlock(idsFile); err != nil {
			return nil, err
		}
		defer ids.file.Close() // PID 1 has its own copy
		init.Held = append(init.Held, ids.file)
		init.Sys.UidMappings, init.Sys.GidMappings = ids.mapsOf(p.Identity)
		// A block may have groups: nobody in it is in one of the host.
		init.Sys.GidMappingsEnableSetgroups = true
		init.Sys.Credential = &syscall.Credential{Uid: initID, Gid: initID}
	}
	group, err := b.group(p)
	if err != nil {
		return nil, err
	}
	prep := &preparation{plan: p, ids: ids, exe: b.exe, stdin: stdio[0], group: group}
	defer prep.close()
	if group == nil {
		return nsproc.Boot(ctx, init, prep.setup)
	}
	if group.Dir != nil {
		init.Sys.UseCgroupFD, init.Sys.CgroupFD = true, int(group.Dir.Fd())
	}
	c, err := nsproc.Boot(ctx, init, prep.setup)
	if err != nil {
		return nil, err
	}
	// The workload will be where the thread is that starts it: the first.
	if err := group.Holds(c.PID()); err != nil {
		return nil, errors.Join(fmt.Errorf("boot: %w", err), c.Close())
	}
	return c, nil
}

// mapsOf are the ids of a cell.
func (b *block) mapsOf(id *plan.Identity) (uids, gids []syscall.SysProcIDMap) {
	var uid, gid *uint32
	if id.As != nil {
		uid, gid = &id.As.UID, &id.As.GID
	}
	return b.maps(id.UID, uid), b.maps(id.GID, gid)
}

// Capabilities by number (capabilities(7)).
const (
	capChown         = 0
	capDACOverride   = 1
	capDACReadSearch = 2
	capFowner        = 3
	capKill          = 5
	capSetGID        = 6
	capSetUID        = 7
	capSetPCap       = 8
	capNetAdmin      = 12
	capSysAdmin      = 21
)

// setupCapabilities are those that PID 1 has in its own user namespace while
// it makes the cell.
func setupCapabilities(block bool) []uintptr {
	list := []uintptr{capSetPCap, capNetAdmin, capSysAdmin}
	if block {
		// To make files that are not its own, and to start the workload
		// as somebody else.
		list = append(list, capChown, capDACOverride, capDACReadSearch, capFowner, capKill, capSetGID, capSetUID)
	}
	return list
}

// readyCapabilities are what is left of them when the cell is made: to give
// sockets that can configure the network to the supervisor, and to start the
// workload with nothing.
func readyCapabilities(block bool) uint64 {
	keep := uint64(1<<capSetPCap | 1<<capNetAdmin)
	if block {
		keep |= 1<<capDACReadSearch | 1<<capKill | 1<<capSetGID | 1<<capSetUID
	}
	return keep
}

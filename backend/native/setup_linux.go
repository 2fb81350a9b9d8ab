package native

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/plan"
)

// preparation is what the supervisor does for a cell while PID 1 starts: the
// steps, and the mounts that PID 1 has no authority to make.
type preparation struct {
	plan *plan.Plan
	ids  *block // nil without ids of the cell's own
	exe  string
	// stdin is what the workload reads.
	stdin *os.File
	// group is the control group, or nil.
	group *cgroup.Group

	steps   []nsproc.Step
	files   []*os.File            // what steps refer to
	trees   []*os.File            // those of them that are detached mounts
	owners  map[ownerMap]*os.File // user namespaces of mounts
	bases   map[string]*os.File   // sources that others lie in
	scratch int                   // directories of the writable file system so far
}

func (p *preparation) close() {
	for _, f := range p.trees {
		f.Close()
	}
	if p.group != nil {
		p.group.Close()
	}
	for _, f := range p.owners {
		f.Close()
	}
	for _, f := range p.bases {
		f.Close()
	}
}

func (p *preparation) step(name string, s cellinit.Step) {
	p.steps = append(p.steps, nsproc.Step{Name: name, Step: s})
}

// setup compiles the plan.
func (p *preparation) setup() (nsproc.Setup, error) {
	p.owners, p.bases = map[ownerMap]*os.File{}, map[string]*os.File{}
	id := p.plan.Identity
	if p.ids == nil {
		outside := func(id uint32, caller int) string { return fmt.Sprintf("%d %d 1\n", id, caller) }
		p.step("map the caller's ids", cellinit.Step{
			Op: cellinit.OpIDMap, Source: outside(id.UID, os.Geteuid()), Data: outside(id.GID, os.Getegid())})
	} else {
		// What is made belongs to the cell's root, not to PID 1.
		p.step("act as the cell's root", cellinit.Step{Op: cellinit.OpFSID})
	}
	p.enter()
	p.step("bring lo up", cellinit.Step{Op: cellinit.OpLinkUp, Target: "lo"})
	p.step("set the host name", cellinit.Step{Op: cellinit.OpHostname, Target: "cell"})
	if err := p.view(); err != nil {
		return nsproc.Setup{}, err
	}
	if p.ids != nil {
		p.step("act as PID 1", cellinit.Step{Op: cellinit.OpFSID, Flags: initID, Mode: initID})
	}
	p.step("give up capabilities", cellinit.Step{Op: cellinit.OpCapabilities, Flags: readyCapabilities(p.ids != nil)})
	return nsproc.Setup{Steps: p.steps, Files: p.files, Program: p.program(), Secrets: p.secrets()}, nil
}

// secrets is where secrets are delivered, if the plan has a place for them.
func (p *preparation) secrets() *nsproc.Secrets {
	if p.plan.Delivery != cell.DeliverFile {
		return nil
	}
	s := &nsproc.Secrets{Dir: plan.SecretsDir}
	if p.ids != nil {
		s.Owner = &cellinit.User{UID: p.plan.Identity.UID, GID: p.plan.Identity.GID}
		s.Init = &cellinit.User{UID: initID, GID: initID}
	}
	return s
}

// Flags and options of the file systems that a cell is made of.
const (
	strictMount = unix.MS_NOSUID | unix.MS_NODEV
	// The root holds a few directories, links and small files.
	rootOptions = "mode=0755,size=4m,nr_inodes=4096"
	// scratchDir is where the writable file system is until all of its
	// directories are mounted in their places.
	scratchDir = ".scratch"
)

// view makes the files of the cell and goes there.
func (p *preparation) view() error {
	view := p.plan.Files
	// Nothing that is mounted here is to appear on the host, or the reverse.
	p.step("make mounts private", cellinit.Step{
		Op: cellinit.OpMount, Target: "/", Flags: unix.MS_REC | unix.MS_PRIVATE})
	p.step("mount a new root", cellinit.Step{Op: cellinit.OpRoot, Flags: strictMount, Data: rootOptions})
	// Files take a page each at least, but names, links and directories only
	// memory of the kernel.
	const perInode = 4096
	p.step("mount the writable file system", cellinit.Step{
		Op: cellinit.OpFilesystem, Target: scratchDir, Type: "tmpfs", Flags: strictMount,
		Data: fmt.Sprintf("mode=0755,size=%d,nr_inodes=%d", view.DiskMax, view.DiskMax/perInode+1024)})
	for _, e := range view.Entries {
		if err := p.entry(e); err != nil {
			return fmt.Errorf("%s: %w", e.Target, err)
		}
	}
	p.step("unmount the place of the writable file system", cellinit.Step{Op: cellinit.OpDetach, Target: scratchDir})
	p.step("leave the host's files", cellinit.Step{Op: cellinit.OpPivot})
	p.step("make the root read-only", cellinit.Step{
		Op: cellinit.OpAttributes, Target: "/", Flags: unix.MOUNT_ATTR_RDONLY})
	return nil
}

// attributes of a mount (mount_setattr(2)).
func attributes(e plan.FileEntry) uint64 {
	set := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if e.Kind == plan.KindDevice {
		set = unix.MOUNT_ATTR_NOSUID
	}
	if e.ReadOnly {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	if e.NoExec {
		set |= unix.MOUNT_ATTR_NOEXEC
	}
	return set
}

// entry adds the steps of one line of the file view.
func (p *preparation) entry(e plan.FileEntry) error {
	target := strings.TrimPrefix(e.Target, "/")
	switch e.Kind {
	case plan.KindDir:
		p.step("make "+e.Target, cellinit.Step{Op: cellinit.OpDir, Target: target, Mode: e.Mode})
		p.own(e.Target, target, e.User)
	case plan.KindFile:
		p.step("write "+e.Target, cellinit.Step{Op: cellinit.OpFile, Target: target, Data: e.Content, Mode: e.Mode})
		p.own(e.Target, target, e.User)
	case plan.KindLink:
		p.step("link "+e.Target, cellinit.Step{Op: cellinit.OpSymlink, Target: target, Source: e.Source})
	case plan.KindSystem, plan.KindDevice:
		p.step("mount "+e.Target, cellinit.Step{Op: cellinit.OpBind, Target: target, Source: e.Source, Flags: attributes(e)})
	case plan.KindMount:
		return p.mount(e, target)
	case plan.KindScratch:
		dir := scratchDir + "/" + strconv.Itoa(p.scratch)
		p.scratch++
		p.step("make "+e.Target, cellinit.Step{Op: cellinit.OpDir, Target: dir, Mode: e.Mode})
		p.own(e.Target, dir, e.User)
		p.step("mount "+e.Target, cellinit.Step{Op: cellinit.OpBind, Target: target, Source: dir, Flags: attributes(e)})
	case plan.KindProc:
		p.step("mount "+e.Target, cellinit.Step{
			Op: cellinit.OpFilesystem, Target: target, Type: "proc",
			Flags: strictMount | unix.MS_NOEXEC, Data: "hidepid=invisible"})
		// Before it becomes read-only.
		p.step("open the ports below 1024", cellinit.Step{
			Op: cellinit.OpWrite, Target: target + "/sys/net/ipv4/ip_unprivileged_port_start", Data: "0"})
	case plan.KindTerminal:
		p.step("mount "+e.Target, cellinit.Step{
			Op: cellinit.OpFilesystem, Target: target, Type: "devpts",
			Flags: unix.MS_NOSUID | unix.MS_NOEXEC, Data: "newinstance,ptmxmode=0666,mode=0620"})
	case plan.KindMask:
		p.step("hide "+e.Target, cellinit.Step{Op: cellinit.OpMask, Target: target})
	case plan.KindFreeze:
		p.step("make "+e.Target+" read-only", cellinit.Step{Op: cellinit.OpFreeze, Target: target, Flags: attributes(e)})
	default:
		return fmt.Errorf("the native backend makes no %s", e.Kind)
	}
	return nil
}

// own gives what was made to the cell's user.
func (p *preparation) own(name, target string, user bool) {
	if user {
		p.step("give "+name+" to the user", cellinit.Step{
			Op: cellinit.OpOwn, Target: target, Flags: uint64(p.plan.Identity.UID), Mode: p.plan.Identity.GID})
	}
}

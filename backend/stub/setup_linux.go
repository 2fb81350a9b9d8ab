package stub

import (
	"fmt"
	"strconv"
	"syscall"

	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/plan"
)

// minOpenFiles is what PID 1 itself needs: a limit applies to it first.
const minOpenFiles = 16

// workspaceSize bounds the tmpfs of the working directory.
const workspaceSize = "size=1073741824"

// blueprint is a plan as the kernel is to be told.
type blueprint struct {
	cloneFlags uintptr
	ambient    []uintptr // capabilities of PID 1 in its user namespace
	steps      []nsproc.Step
	program    cellinit.Program // without its variables and its deadline
}

// compile makes a blueprint for a caller with these ids.
func compile(p *plan.Plan, uid, gid int) (blueprint, error) {
	ns := p.Unshare
	user := ns.User || uid != 0
	if p.Process != nil {
		if p.Process.Workspace && !ns.Mnt {
			return blueprint{}, fmt.Errorf(
				"a fresh working directory at %s needs a mount namespace: add mnt to CELLOS_SUBPROCESS_UNSHARE", p.Process.Dir)
		}
		if n := p.Process.OpenFiles; n != 0 && n < minOpenFiles {
			return blueprint{}, fmt.Errorf("a limit of %d open files is below the %d that PID 1 needs", n, minOpenFiles)
		}
	}
	b := blueprint{cloneFlags: syscall.CLONE_NEWPID}
	for _, f := range []struct {
		on   bool
		flag uintptr
	}{
		{user, syscall.CLONE_NEWUSER},
		{ns.Net, syscall.CLONE_NEWNET},
		{ns.Mnt, syscall.CLONE_NEWNS},
		{ns.IPC, syscall.CLONE_NEWIPC},
		{ns.UTS, syscall.CLONE_NEWUTS},
	} {
		if f.on {
			b.cloneFlags |= f.flag
		}
	}
	if user {
		b.ambient = setupCapabilities
	}
	b.steps = steps(p, user, uid, gid)
	if p.Process != nil {
		b.program = program(p.Process, user)
	}
	return b, nil
}

// setupCapabilities are those of capabilities(7) that the steps use. PID 1
// has them in its own user namespace only.
var setupCapabilities = []uintptr{
	8,  // CAP_SETPCAP: to empty the workload's bounding set
	12, // CAP_NET_ADMIN: lo, and the ports of the network namespace
	21, // CAP_SYS_ADMIN: the id maps, mounts and the host name
}

func steps(p *plan.Plan, user bool, uid, gid int) []nsproc.Step {
	var list []nsproc.Step
	add := func(on bool, name string, s cellinit.Step) {
		if on {
			list = append(list, nsproc.Step{Name: name, Step: s})
		}
	}
	self := func(id int) string { n := strconv.Itoa(id); return n + " " + n + " 1\n" }

	add(user, "map the caller's ids", cellinit.Step{
		Op: cellinit.OpIDMap, Source: self(uid), Data: self(gid)})
	// Nothing that is mounted here is to appear on the host.
	add(p.Unshare.Mnt, "make mounts private", cellinit.Step{
		Op: cellinit.OpMount, Target: "/", Flags: syscall.MS_REC | syscall.MS_PRIVATE})
	// The host's /proc shows the host's processes.
	add(p.Unshare.Mnt, "mount /proc", cellinit.Step{
		Op: cellinit.OpMount, Source: "proc", Target: "/proc", Type: "proc",
		Flags: syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC})
	if p.Process != nil && p.Process.Workspace {
		add(true, "mount a working directory at "+p.Process.Dir, cellinit.Step{
			Op: cellinit.OpMount, Source: "tmpfs", Target: p.Process.Dir, Type: "tmpfs",
			Flags: syscall.MS_NOSUID | syscall.MS_NODEV, Data: "mode=0700," + workspaceSize})
	}
	add(p.Unshare.Net, "bring lo up", cellinit.Step{
		Op: cellinit.OpLinkUp, Target: "lo"})
	add(p.Unshare.Net, "open the ports below 1024", cellinit.Step{
		Op: cellinit.OpWrite, Target: "/proc/sys/net/ipv4/ip_unprivileged_port_start", Data: "0"})
	add(p.Unshare.UTS, "set the host name", cellinit.Step{
		Op: cellinit.OpHostname, Target: "cell"})
	return list
}

func program(p *plan.Process, user bool) cellinit.Program {
	prog := cellinit.Program{
		Argv:             p.Argv,
		Dir:              p.Dir,
		Search:           []string{"/usr/local/bin", "/usr/bin", "/bin"},
		DropCapabilities: user,
	}
	if prog.Dir == "" {
		prog.Dir = "/"
	}
	if p.OpenFiles != 0 {
		prog.Limits = []cellinit.Limit{{Resource: syscall.RLIMIT_NOFILE, Max: p.OpenFiles}}
	}
	return prog
}

package native

import (
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/plan"
)

// Isolation says what a cell of this backend enforces, and by what, for a
// caller with or without root. What this host lacks shows when a cell is
// booted: a step that fails ends the cell, and none is left out.
func (b *Backend) Isolation(rootless bool) plan.Report {
	enforced := func(by string) plan.Control { return plan.Control{State: plan.Enforced, By: by} }
	none := func(by string) plan.Control { return plan.Control{State: plan.Unavailable, By: by} }
	ids := "user namespace with 65,536 ids of the host that nobody else has"
	if rootless {
		ids = "user namespace; the caller's own id is the cell's user, and there is no other"
	}
	return plan.Report{
		"network":       enforced("network namespace with lo only: there is no link to leave by"),
		"dns":           enforced("resolver of the supervisor"),
		"egressL4":      enforced("nftables in the cell's namespace, and a relay that asks the plan again"),
		"egressL7":      none("this build does not look into connections"),
		"filesystem":    enforced("mount namespace with an empty root, filled from the plan"),
		"userNamespace": enforced(ids),
		"seccomp":       enforced("allow-list of system calls, other ABIs killed"),
		"landlock":      landlockControl(landlockVersion()),
		"capabilities":  enforced("empty bounding, permitted, inheritable and ambient sets"),
		"cgroupMemory":  b.control(cgroup.Memory),
		"cgroupCpu":     b.control(cgroup.CPU),
		"cgroupPids":    enforced("RLIMIT_NPROC, counted in the cell's own user namespace"),
		"noNewPrivs":    enforced("prctl(PR_SET_NO_NEW_PRIVS)"),
		"ttl":           enforced("timerfd in PID 1 and in the supervisor"),
	}
}

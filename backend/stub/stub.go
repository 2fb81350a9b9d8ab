// Package stub is the test double among the backends: it runs the workload
// as a plain process in namespaces of its own.
//
// The workload has the caller's ids, sees the caller's files and shares the
// host's kernel without a system call filter. A pid namespace it always has,
// so that ending PID 1 ends everything that the workload ever started; the
// other namespaces are those of the plan. A caller who is not root has a user
// namespace as well, without which there would be no others.
//
// PID 1 is package cellinit: a program that imports this package can be
// executed as one. See its documentation for the protocol.
package stub

import (
	"context"
	"os"
	"syscall"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/plan"
)

// Options configure a Backend.
type Options struct {
	// Exe is the program that is executed as PID 1. It must link package
	// cellinit, as every program that links this package does, and the
	// caller must be able to execute it. The default is the running one.
	Exe string
}

// A Backend starts cells.
type Backend struct {
	exe string
}

// New returns a Backend.
func New(o Options) *Backend {
	if o.Exe == "" {
		o.Exe = "/proc/self/exe"
	}
	return &Backend{exe: o.Exe}
}

// Name is how a configuration calls this backend.
func (*Backend) Name() string { return "stub" }

// Resources are none: everything of a cell goes with its PID 1.
func (*Backend) Resources(*plan.Plan) ([]backend.Resource, error) { return nil, nil }

// Boot clones PID 1 with the plan's namespaces and has it set the cell up.
// Nothing of the workload runs before Start. Stdio and lock are duplicated
// into the cell and stay the caller's to close; the lock is then held by PID 1
// alone, until its death, if the caller closes it. The calling thread is bound
// to the cell's life: see nsproc.Boot.
func (b *Backend) Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (*nsproc.Cell, error) {
	bp, err := compile(p, os.Geteuid(), os.Getegid())
	if err != nil {
		return nil, err
	}
	return nsproc.Boot(ctx, nsproc.Init{
		Exe: b.exe, Stdio: stdio, Held: []*os.File{lock},
		Sys: syscall.SysProcAttr{Cloneflags: bp.cloneFlags, AmbientCaps: bp.ambient},
	}, func() (nsproc.Setup, error) {
		return nsproc.Setup{Steps: bp.steps, Program: bp.program}, nil
	})
}

// Isolation says what a cell with these namespaces enforces. It is a pure
// function of them and of the caller's user id.
func (*Backend) Isolation(ns plan.Namespaces) plan.Report {
	none := func(by string) plan.Control { return plan.Control{State: plan.Unavailable, By: by} }
	report := plan.Report{
		"network":       none("stub: shares the host's network"),
		"dns":           none("stub: the host's resolvers are within reach"),
		"egressL4":      none("stub: no relay"),
		"egressL7":      none("stub: no relay"),
		"filesystem":    none("stub: sees the host's files"),
		"userNamespace": none("stub: has the caller's ids"),
		"seccomp":       none("stub: no system call filter"),
		"landlock":      none("stub: no ruleset"),
		"capabilities":  none("stub: root keeps its capabilities"),
		"cgroupMemory":  none("stub: no cgroup"),
		"cgroupCpu":     none("stub: no cgroup"),
		"cgroupPids":    none("stub: no cgroup"),
		"noNewPrivs":    {State: plan.Enforced, By: "prctl(PR_SET_NO_NEW_PRIVS)"},
		"ttl":           {State: plan.Enforced, By: "timerfd in PID 1 of a pid namespace"},
	}
	if ns.Net {
		state, but := plan.Enforced, ""
		if !ns.User && privileged() {
			// setns(2) to the namespace of any process of the host.
			state, but = plan.Partial, "; root can leave it"
		}
		report["network"] = plan.Control{State: state, By: "network namespace with lo only" + but}
		report["dns"] = plan.Control{State: state, By: "network namespace: no resolver but the cell's" + but}
		// There is no way out for a rule to open, so nothing undeclared
		// passes and nothing declared does either.
		report["egressL4"] = plan.Control{State: plan.Partial, By: "network namespace: no egress at all, no relay"}
	}
	if ns.Mnt {
		report["filesystem"] = plan.Control{State: plan.Partial, By: "mount namespace: the host's files remain visible"}
	}
	if ns.User || !privileged() {
		report["userNamespace"] = plan.Control{State: plan.Partial, By: "user namespace: the caller's ids mapped to themselves"}
		report["capabilities"] = plan.Control{State: plan.Enforced, By: "empty bounding, permitted, inheritable and ambient sets"}
	}
	return report
}

// privileged reports whether namespaces can be made without a user namespace.
func privileged() bool { return os.Geteuid() == 0 }

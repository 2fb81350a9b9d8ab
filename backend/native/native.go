package native

import (
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/plan"
)

// Options configure a Backend.
type Options struct {
	// Exe is the program that is executed as PID 1. It must link package
	// cellinit, and the ids of a cell must be able to execute it. The
	// default is the running one.
	Exe string
	// Cgroups are where limits of memory and processor time can be set. Nil
	// is nowhere.
	Cgroups *cgroup.Host
}

// A Backend starts cells.
type Backend struct {
	exe     string
	cgroups *cgroup.Host
}

// New returns a Backend.
func New(o Options) *Backend {
	if o.Exe == "" {
		o.Exe = "/proc/self/exe"
	}
	return &Backend{exe: o.Exe, cgroups: o.Cgroups}
}

// Name is how a configuration calls this backend.
func (*Backend) Name() string { return "native" }

// Namespaces are those of every cell.
var Namespaces = plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true, UTS: true, User: true}

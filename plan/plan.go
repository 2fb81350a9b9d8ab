// Package plan compiles a document and the facts of a host into everything
// that will be enforced, as data: it can be printed, compared and tested, and
// backends only apply it. Nothing in this package touches the host.
package plan

import (
	"net/netip"
	"time"

	"cellos.io/cellos/cell"
)

// A Plan is one cell before it exists.
type Plan struct {
	SpecID  string  `json:"specId"`
	Profile Profile `json:"profile"`
	Backend string  `json:"backend"`
	// RunID is the run that the cell is for. A plan has none before.
	RunID string `json:"runId,omitempty"`

	// Process is nil for a cell without a program.
	Process *Process `json:"process,omitempty"`
	Secrets []string `json:"secrets"` // logical names, in document order
	// Delivery is how they reach the workload; empty if there are none.
	Delivery cell.SecretDelivery `json:"secretDelivery,omitempty"`
	DNS      *DNS                `json:"dns,omitempty"`
	// Network is nil on a backend without a relay.
	Network *Network   `json:"network,omitempty"`
	Unshare Namespaces `json:"namespaces"`
	// Identity, Files and Limits are nil on a backend that has none of its
	// own.
	Identity *Identity `json:"identity,omitempty"`
	Files    *FileView `json:"files,omitempty"`
	Limits   *Limits   `json:"limits,omitempty"`
	Time     Time      `json:"time"`
	Events   Events    `json:"events"`
	// Isolation is what the backend will enforce, control by control.
	Isolation Report `json:"isolation"`
	// Warnings are the places where profile portable runs with less than
	// was asked. Under profile hardened each would have been a refusal.
	Warnings []Finding `json:"warnings,omitempty"`
}

// Profile is how a plan treats what the host cannot enforce.
type Profile string

const (
	// Hardened refuses a cell whose mandatory controls are not enforced.
	Hardened Profile = "hardened"
	// Portable runs it with a warning and an event.
	Portable Profile = "portable"
)

// Process is the workload.
type Process struct {
	Argv []string          `json:"argv"`
	Vars map[string]string `json:"vars"` // without secrets
	// Dir is where the workload starts. With Workspace a fresh tmpfs is
	// mounted there first.
	Dir       string `json:"dir"`
	Workspace bool   `json:"workspace"`
	OpenFiles uint64 `json:"openFilesMax"` // RLIMIT_NOFILE
}

// Time is every clock a cell is subject to. All run on CLOCK_BOOTTIME.
type Time struct {
	TTL time.Duration `json:"ttlNanos"`
	// Timeout is zero when only the TTL bounds the run.
	Timeout time.Duration `json:"timeoutNanos,omitempty"`
	Grace   time.Duration `json:"graceNanos"`
}

// Events bounds the journal of the cell.
type Events struct {
	MaxBytes int64 `json:"maxBytes"`
}

// Namespaces are the namespaces a cell has of its own.
type Namespaces struct {
	Net  bool `json:"net"`
	Mnt  bool `json:"mnt"`
	PID  bool `json:"pid"`
	IPC  bool `json:"ipc"`
	UTS  bool `json:"uts"`
	User bool `json:"user"`
}

// DNS is the resolver of a cell.
type DNS struct {
	// Names may be resolved: exact names and "*.x" patterns, normalised.
	Names        []string     `json:"names"`
	Types        []string     `json:"types"`
	DenyResponse DenyResponse `json:"denyResponse"`
	// Listen are addresses inside the cell. The first is 127.0.0.1:53.
	Listen    []netip.AddrPort `json:"listen"`
	Upstreams []Upstream       `json:"upstreams"`
}

// DenyResponse is how a denied name is answered.
type DenyResponse string

// The two ways to say no.
const (
	DenyNXDomain DenyResponse = "nxdomain"
	DenyRefused  DenyResponse = "refused"
)

// Upstream is a resolver that the proxy forwards to.
type Upstream struct {
	ID       string         `json:"resolverId"`
	Addr     netip.AddrPort `json:"addr"`
	Protocol string         `json:"protocol"` // do53-udp or do53-tcp
	// InCell is true if the address is reached from inside the cell.
	InCell bool `json:"inCell"`
}

// A Finding is one thing that cannot be had as asked, and where it was asked.
type Finding struct {
	Path   string `json:"path"` // a document path or the name of a setting
	Reason string `json:"reason"`
	Remedy string `json:"remedy,omitempty"`
}

func (f Finding) String() string {
	s := f.Path + ": " + f.Reason
	if f.Remedy != "" {
		s += " (" + f.Remedy + ")"
	}
	return s
}

// State is how far a control is enforced.
type State string

// The states of a control. Unknown counts as not enforced.
const (
	Enforced    State = "enforced"
	Partial     State = "partial"
	Unavailable State = "unavailable"
	Unknown     State = "unknown"
)

// Control is one line of the isolation report.
type Control struct {
	State State `json:"state"`
	// By is the mechanism that enforces the control, or why none does.
	By string `json:"by"`
}

// Report is the isolation report: control name to what enforces it.
type Report map[string]Control

// Controls are the keys of a Report, in the order in which they are shown.
var Controls = []string{
	"network", "dns", "egressL4", "egressL7", "filesystem", "userNamespace",
	"seccomp", "landlock", "capabilities", "cgroupMemory", "cgroupCpu",
	"cgroupPids", "noNewPrivs", "ttl",
}

// Names lists the namespaces as CELLOS_SUBPROCESS_UNSHARE spells them.
func (n Namespaces) Names() []string {
	var names []string
	for _, ns := range []struct {
		has  bool
		name string
	}{{n.Net, "net"}, {n.Mnt, "mnt"}, {n.PID, "pid"}, {n.IPC, "ipc"}, {n.UTS, "uts"}, {n.User, "user"}} {
		if ns.has {
			names = append(names, ns.name)
		}
	}
	return names
}

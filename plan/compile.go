package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cellos.io/cellos/cell"
)

// DefaultEventsMaxBytes bounds the events of a cell whose document does not.
const DefaultEventsMaxBytes = 64 << 20

// Defaults of SPEC §1 for what a document leaves out.
const (
	defaultOpenFiles = 1024
	defaultGrace     = 5 * time.Second
	// defaultDir is where a workload without a working directory starts on a
	// backend that shows it the host's files.
	defaultDir = "/"
)

// defaultQueryTypes are the DNS types a cell may ask for unless it says more.
var defaultQueryTypes = []string{"A", "AAAA", "CNAME", "HTTPS"}

// Switch is a setting with three positions.
type Switch int

// The positions of a Switch.
const (
	Auto Switch = iota
	On
	Off
)

// Host is what a plan depends on besides the document: what the operator set
// and what this host can do.
type Host struct {
	Profile Profile
	Backend string
	// Isolation is what the backend enforces, apart from what the document
	// itself decides (dns).
	Isolation Report
	// TestDouble is true for a backend that gives the workload the host's
	// own files and identity. It is never enough for profile hardened.
	TestDouble bool
	// Namespaces are those the backend will make.
	Namespaces Namespaces
	DNSProxy   Switch
	// Relay is true for a backend whose cells reach what the document
	// declares, by package egress.
	Relay bool
	// IPv6 is false on a host without it: its cells have none.
	IPv6 bool
	// UpstreamOverride replaces the address of every resolver if valid.
	UpstreamOverride netip.AddrPort
	// Files are what a file view depends on. Nil is a backend that shows the
	// workload the host's own files, and has it run as the caller.
	Files *HostFiles
	// IDBlocks is whether a cell can have host ids of its own.
	IDBlocks bool
	// Nameservers are the host's own resolvers.
	Nameservers []netip.AddrPort
	// RunTimeoutMax is the operator's upper bound on the run, 0 for none.
	RunTimeoutMax time.Duration
}

// mandatory are the controls without which profile hardened refuses a cell
// (SPEC §5). Controls that only some documents need are added by compile.
var mandatory = []string{
	"network", "dns", "egressL4", "filesystem", "userNamespace", "seccomp",
	"capabilities", "noNewPrivs", "ttl",
}

// Compile turns a valid document into a plan for this host. If refusals are
// returned the cell must not run: each names something that the document asks
// for, or that the profile demands, and that cannot be enforced here. The plan
// is returned all the same, for explanation.
func Compile(doc *cell.Document, host Host) (*Plan, []Finding) {
	c := &compiler{doc: doc, spec: &doc.Spec, host: host, plan: &Plan{
		SpecID:    doc.Spec.ID,
		Profile:   host.Profile,
		Backend:   host.Backend,
		Secrets:   slices.Clone(doc.Spec.Authority.SecretRefs),
		Unshare:   host.Namespaces,
		Isolation: maps.Clone(host.Isolation),
	}}
	for _, u := range doc.Unbuilt() {
		c.refuse(u.Path, u.What, u.Remedy)
	}
	c.process()
	c.time()
	c.limits()
	c.identity()
	c.delivery()
	c.resources()
	c.resolver()
	c.network()
	c.files() // its hosts file has the addresses of the network
	c.isolation()
	return c.plan, c.refusals
}

type compiler struct {
	doc      *cell.Document
	spec     *cell.Spec
	host     Host
	plan     *Plan
	refusals []Finding
}

// refuse records what no profile may run without.
func (c *compiler) refuse(path, reason, remedy string) {
	c.refusals = append(c.refusals, Finding{Path: path, Reason: reason, Remedy: remedy})
}

// degrade records what profile portable may run without.
func (c *compiler) degrade(path, reason, remedy string) {
	if c.host.Profile != Portable {
		c.refuse(path, reason, remedy)
		return
	}
	c.plan.Warnings = append(c.plan.Warnings, Finding{Path: path, Reason: reason, Remedy: remedy})
}

func (c *compiler) process() {
	run := c.spec.Run
	if run == nil {
		return
	}
	p := &Process{Argv: run.Argv, Dir: defaultDir, OpenFiles: defaultOpenFiles, Vars: map[string]string{}}
	if env := c.spec.Environment; env != nil {
		maps.Copy(p.Vars, env.Vars)
	}
	if run.WorkingDirectory != "" {
		p.Dir, p.Workspace = run.WorkingDirectory, true
		if !c.host.Namespaces.Mnt && c.host.Files == nil {
			c.refuse("spec.run.workingDirectory",
				"a fresh file system for the working directory needs a mount namespace, which this cell does not have",
				"add mnt to CELLOS_SUBPROCESS_UNSHARE")
		}
	}
	c.plan.Process = p
}

func (c *compiler) time() {
	t := &c.plan.Time
	t.TTL = seconds(c.spec.Lifetime.TTLSeconds)
	t.Grace = defaultGrace
	run := c.spec.Run
	if run == nil {
		return
	}
	switch {
	case run.TimeoutMs != nil:
		t.Timeout = time.Duration(*run.TimeoutMs) * time.Millisecond
	case run.TimeoutSeconds != nil:
		t.Timeout = seconds(*run.TimeoutSeconds)
	}
	if most := c.host.RunTimeoutMax; most > 0 && (t.Timeout == 0 || most < t.Timeout) {
		t.Timeout = most
	}
	if run.Limits != nil && run.Limits.GracefulShutdownSeconds != nil {
		t.Grace = seconds(*run.Limits.GracefulShutdownSeconds)
	}
}

// seconds is n seconds, or the longest duration if that overflows: a document
// may name a lifetime of millions of years.
func seconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	if n > most {
		return 1<<63 - 1
	}
	return time.Duration(n) * time.Second
}

func (c *compiler) limits() {
	c.plan.Events.MaxBytes = EventsMaxBytes(c.doc)
	if run := c.spec.Run; run != nil && run.Limits != nil && run.Limits.OpenFilesMax != nil {
		c.plan.Process.OpenFiles = uint64(*run.Limits.OpenFilesMax)
	}
}

// EventsMaxBytes is the event budget of a document. Its trail begins, and is
// bounded, before there is a plan.
func EventsMaxBytes(doc *cell.Document) int64 {
	if run := doc.Spec.Run; run != nil && run.Limits != nil && run.Limits.EventsMaxBytes != nil {
		return *run.Limits.EventsMaxBytes
	}
	return DefaultEventsMaxBytes
}

// isolation holds the report against the profile.
func (c *compiler) isolation() {
	c.plan.Isolation["dns"] = c.dnsControl()
	if c.host.TestDouble {
		if c.host.Profile != Portable {
			c.refuse("CELLOS_CELL_BACKEND", fmt.Sprintf("backend %s is a test double: the workload sees the host's files as the supervisor's user", c.host.Backend),
				"set CELLOS_DEPLOYMENT_PROFILE=portable if that is what you want")
		}
	}
	if id := c.plan.Identity; id != nil && id.As != nil {
		c.plan.Isolation["userNamespace"] = Control{Partial, fmt.Sprintf(
			"user namespace with ids of its own, but the cell's user is user %d of the host, who owns a mount that cannot be mapped", id.As.UID)}
	}
	var missing []string
	for _, name := range mandatory {
		if c.plan.Isolation[name].State != Enforced {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		c.degrade("isolation", fmt.Sprintf("backend %s does not enforce %s", c.host.Backend, strings.Join(missing, ", ")), "")
	}
}

// dnsControl states who answers the cell's DNS queries. It is as strong as the
// network that keeps the workload from asking elsewhere.
func (c *compiler) dnsControl() Control {
	network := c.plan.Isolation["network"]
	switch {
	case !c.host.Namespaces.Net:
		return Control{Unavailable, "the workload uses the host's network and its resolvers"}
	case c.plan.DNS != nil:
		return Control{network.State, "resolver of the supervisor; " + network.By}
	default:
		return Control{network.State, "no resolver; " + network.By}
	}
}

// Package compose reads the operator's settings, which are environment
// variables and the facts of this host, and builds a supervisor from them. It
// is the only place that knows every implementation of every port.
package compose

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"cellos.io/cellos/plan"
)

// Settings are the operator's choices, checked but not yet acted on.
type Settings struct {
	Profile plan.Profile
	Backend string
	// Unshare are the namespaces asked for with CELLOS_SUBPROCESS_UNSHARE.
	Unshare          plan.Namespaces
	DNSProxy         plan.Switch
	UpstreamOverride netip.AddrPort
	JSONLPath        string
	Broker           string
	Redact           string
	Argv0Prefixes    []string
	RunTimeoutMax    time.Duration
	CgroupParent     string // empty: the default
	ValidateOnly     bool
	StateDir         string // empty: the default
	RuntimeDir       string // empty: the default
	ResultPath       string
	Strict           bool

	// Warnings are settings that had no effect. Under Strict there are none:
	// they were errors.
	Warnings []string
}

// The values that SPEC names, the default first, and those that this build
// honours.
var (
	knownBackends = []string{"native", "gvisor", "firecracker", "qemu", "stub"}
	builtBackends = []string{"native", "stub"}
	knownBrokers  = []string{"env", "file", "vault-approle", "github-oidc", "memory"}
	builtBrokers  = []string{"env", "file"}
)

// ReadSettings reads the environment and returns every fault at once.
func ReadSettings(environ []string) (*Settings, error) {
	r := reader{vars: varsOf(environ)}
	s := &Settings{
		Profile:    plan.Profile(r.oneOf("CELLOS_DEPLOYMENT_PROFILE", string(plan.Hardened), string(plan.Portable))),
		Backend:    r.backend(),
		DNSProxy:   r.switched("CELLOS_DNS_PROXY"),
		JSONLPath:  r.alias("CELLOS_JSONL_SINK_PATH", "CELL_OS_JSONL_EVENTS"),
		Broker:     r.broker(),
		Redact:     r.vars["CELLOS_REDACT_EVENT_FIELDS"],
		StateDir:   r.path("CELLOS_STATE_DIR"),
		RuntimeDir: r.path("CELLOS_RUNTIME_DIR"),
		ResultPath: r.vars["CELLOS_RESULT_PATH"],
	}
	s.Unshare = r.namespaces("CELLOS_SUBPROCESS_UNSHARE")
	s.UpstreamOverride = r.addrPort("CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE")
	s.Argv0Prefixes = r.list("CELLOS_RUN_ARGV0_ALLOW_PREFIXES")
	s.RunTimeoutMax = r.milliseconds("CELLOS_RUN_TIMEOUT_MS")
	s.CgroupParent = r.path("CELLOS_CGROUP_PARENT")
	s.ValidateOnly = r.switched("CELLOS_VALIDATE_ONLY") == plan.On
	s.Strict = r.switched("CELLOS_STRICT_CONFIG") == plan.On
	_ = r.switched("CELL_OS_USE_NOOP_SINK") // this build has no primary sink to leave out

	warnings, errs := checkNames(environ)
	r.errs = append(r.errs, errs...)
	if r.vars["CELLOS_SUBPROCESS_UNSHARE"] != "" && s.Backend != "stub" {
		warnings = append(warnings, "CELLOS_SUBPROCESS_UNSHARE has no effect: only backend stub asks which namespaces to make")
	}
	if s.Strict {
		for _, w := range warnings {
			r.fail(errors.New(w + " (CELLOS_STRICT_CONFIG makes this an error)"))
		}
	} else {
		s.Warnings = warnings
	}
	return s, errors.Join(r.errs...)
}

// CollectSettings are the settings of a clean-up, which runs nothing: only
// where the directories are, what signs, and how brokers are reached matter.
func CollectSettings(getenv func(string) string) *Settings {
	return &Settings{
		Profile: plan.Portable, Backend: builtBackends[0], Broker: builtBrokers[0],
		StateDir: getenv("CELLOS_STATE_DIR"), RuntimeDir: getenv("CELLOS_RUNTIME_DIR"),
		JSONLPath: cmp.Or(getenv("CELLOS_JSONL_SINK_PATH"), getenv("CELL_OS_JSONL_EVENTS")),
		Redact:    getenv("CELLOS_REDACT_EVENT_FIELDS"),
	}
}

// varsOf is an environment ("K=V" strings) by name.
func varsOf(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		vars[name] = value
	}
	return vars
}

// reader collects faults while it reads.
type reader struct {
	vars map[string]string
	errs []error
}

func (r *reader) fail(err error) { r.errs = append(r.errs, err) }

func (r *reader) failValue(name, rule string) {
	r.fail(fmt.Errorf("%s=%q: %s", name, r.vars[name], rule))
}

// oneOf returns the value of a variable, the first choice if it is unset.
func (r *reader) oneOf(name string, choices ...string) string {
	v := r.vars[name]
	if v == "" {
		return choices[0]
	}
	for _, c := range choices {
		if v == c {
			return v
		}
	}
	r.failValue(name, "must be one of "+strings.Join(choices, ", "))
	return choices[0]
}

func (r *reader) backend() string {
	return r.built("CELLOS_CELL_BACKEND", "backend", knownBackends, builtBackends)
}

func (r *reader) broker() string {
	return r.built("CELLOS_BROKER", "secret broker", knownBrokers, builtBrokers)
}

// built reads a setting of which this build honours only some known values.
func (r *reader) built(name, what string, known, built []string) string {
	v := r.oneOf(name, known...)
	wrong := r.vars[name] != "" && r.vars[name] != v
	if !wrong && !slices.Contains(built, v) {
		r.fail(&UnbuiltError{Setting: name, Missing: fmt.Sprintf("%s %s, only %s", what, v, strings.Join(built, ", "))})
	}
	return v
}

func (r *reader) switched(name string) plan.Switch {
	switch r.vars[name] {
	case "":
		return plan.Auto
	case "1":
		return plan.On
	case "0":
		return plan.Off
	}
	r.failValue(name, "must be 1 or 0")
	return plan.Auto
}

// alias reads a setting that has two names. Both may be set, to the same value.
func (r *reader) alias(name, other string) string {
	v, w := r.vars[name], r.vars[other]
	if v != "" && w != "" && v != w {
		r.failValue(other, name+" says otherwise; they are one setting")
	}
	if v == "" {
		return w
	}
	return v
}

func (r *reader) path(name string) string {
	v := r.vars[name]
	if v != "" && !strings.HasPrefix(v, "/") {
		r.failValue(name, "must be an absolute path")
	}
	return v
}

func (r *reader) list(name string) []string {
	var out []string
	for item := range strings.SplitSeq(r.vars[name], ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func (r *reader) namespaces(name string) plan.Namespaces {
	var ns plan.Namespaces
	for _, item := range r.list(name) {
		switch item {
		case "1":
			ns.PID, ns.IPC, ns.Mnt, ns.Net = true, true, true, true
		case "net":
			ns.Net = true
		case "mnt":
			ns.Mnt = true
		case "pid":
			ns.PID = true
		case "ipc":
			ns.IPC = true
		case "uts":
			ns.UTS = true
		case "user":
			ns.User = true
		default:
			r.failValue(name, fmt.Sprintf("%q is none of net, mnt, pid, ipc, uts, user, 1", item))
		}
	}
	return ns
}

func (r *reader) addrPort(name string) netip.AddrPort {
	v := r.vars[name]
	if v == "" {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(v)
	if err != nil || a.Port() == 0 {
		r.failValue(name, "must be IP:port, such as 127.0.0.1:5353")
		return netip.AddrPort{}
	}
	return a
}

func (r *reader) milliseconds(name string) time.Duration {
	v := r.vars[name]
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > int64(1<<63-1)/int64(time.Millisecond) {
		r.failValue(name, "must be a number of milliseconds, at least 1")
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

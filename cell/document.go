package cell

// APIVersion and Kind are the only values that a document may carry in the
// fields of the same name.
const (
	APIVersion = "cellos.io/v1"
	Kind       = "ExecutionCell"
)

// Document is one ExecutionCell document as its author wrote it. Defaults are
// not filled in here: what is absent stays absent, so that two documents are
// equal exactly if their authors declared the same thing. Package plan applies
// the defaults.
type Document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       Spec   `json:"spec"`

	source source
}

// Spec is what a cell may use, and for how long.
type Spec struct {
	// ID is a portable identifier: first character alphanumeric, then
	// [A-Za-z0-9._-], at most 128 characters, no "..".
	ID          string       `json:"id"`
	Correlation *Correlation `json:"correlation,omitempty"`
	Placement   *Placement   `json:"placement,omitempty"`
	Policy      *PolicyRef   `json:"policy,omitempty"`
	Identity    *Identity    `json:"identity,omitempty"`
	Environment *Environment `json:"environment,omitempty"`
	Ingress     any          `json:"ingress,omitempty"`
	Authority   Authority    `json:"authority,omitzero"`
	Lifetime    Lifetime     `json:"lifetime"`
	Run         *Run         `json:"run,omitempty"`
	Export      *Export      `json:"export,omitempty"`
	Telemetry   *Telemetry   `json:"telemetry,omitempty"`
}

// Correlation ties a cell to the platform that asked for it. It grants nothing.
type Correlation struct {
	CorrelationID string `json:"correlationId,omitempty"`
	// TenantID is used as a NATS subject token: no ".", "*", ">" or white space.
	TenantID      string            `json:"tenantId,omitempty"`
	Platform      string            `json:"platform,omitempty"`
	ExternalRunID string            `json:"externalRunId,omitempty"`
	ExternalJobID string            `json:"externalJobId,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
}

// Placement says where a scheduler put the cell.
type Placement struct {
	PoolID string `json:"poolId,omitempty"`
	// KubernetesNamespace is a DNS label (RFC 1123) of at most 63 characters.
	KubernetesNamespace string `json:"kubernetesNamespace,omitempty"`
	QueueName           string `json:"queueName,omitempty"`
}

// PolicyRef names the policy pack that must have admitted the cell.
type PolicyRef struct {
	PackID      string `json:"packId"`
	PackVersion string `json:"packVersion"`
}

// Identity is a workload identity token, delivered under SecretRef.
type Identity struct {
	Kind      string `json:"kind"` // "oidc"
	Provider  string `json:"provider"`
	Audience  string `json:"audience"`
	SecretRef string `json:"secretRef"`
}

// Environment is the file view the workload starts from and its plain,
// non-secret variables.
type Environment struct {
	// Base is "system" (the host's programs and libraries, read-only; the
	// default) or "none", with an image or a rootfs.
	Base string `json:"base,omitempty"`
	// Image is an OCI reference, layout or tarball.
	Image string `json:"image,omitempty"`
	// Rootfs is a directory of the host.
	Rootfs string            `json:"rootfs,omitempty"`
	Vars   map[string]string `json:"vars,omitempty"`
}

// Authority is everything the cell may reach. What is not named here does not
// exist for the workload.
type Authority struct {
	// SecretRefs are the logical names of the secrets that are delivered.
	SecretRefs          []string      `json:"secretRefs,omitempty"`
	EgressRules         []EgressRule  `json:"egressRules,omitempty"`
	DNSAuthority        *DNSAuthority `json:"dnsAuthority,omitempty"`
	Filesystem          *Filesystem   `json:"filesystem,omitempty"`
	AuthorityDerivation any           `json:"authorityDerivation,omitempty"`
	CDNAuthority        any           `json:"cdnAuthority,omitempty"`
}

// Protocol is the protocol of an egress rule.
type Protocol string

// The protocols an egress rule may name.
const (
	TCP   Protocol = "tcp"
	TLS   Protocol = "tls"
	HTTPS Protocol = "https"
	HTTP  Protocol = "http"
	UDP   Protocol = "udp"
	DNS   Protocol = "dns"
)

// EgressRule is one destination that the cell may connect to.
type EgressRule struct {
	// Host is a DNS name, "*.name", an IP address, a CIDR prefix, or
	// HostLoopback.
	Host          string   `json:"host"`
	Port          int64    `json:"port"` // 1 to 65535
	Protocol      Protocol `json:"protocol"`
	Justification string   `json:"justification,omitempty"`
}

// HostLoopback is the name under which a cell may reach a port of the host's
// own loopback, where the operator allows it.
const HostLoopback = "host.cellos.internal"

// DNSAuthority is which names the cell may resolve, and how.
type DNSAuthority struct {
	// HostnameAllowlist holds exact names or "*.x": one or more labels
	// under x, never x itself.
	HostnameAllowlist []string `json:"hostnameAllowlist,omitempty"`
	// Resolvers are asked for allowed names. Without one, the host's are.
	Resolvers []Resolver `json:"resolvers,omitempty"`
	// Answers is "bound" (each name has an address of its own in the cell) or
	// "real" (the upstream's records).
	Answers string `json:"answers,omitempty"`
	// AllowedQueryTypes is A, AAAA, CNAME and HTTPS by default.
	AllowedQueryTypes []string `json:"allowedQueryTypes,omitempty"`
	// DenyResponse is "nxdomain" or "refused".
	DenyResponse string `json:"denyResponse,omitempty"`
	// BlockDirectWorkloadDNS is true by default: the proxy answers all DNS
	// of the workload, whatever server it asks.
	BlockDirectWorkloadDNS *bool            `json:"blockDirectWorkloadDns,omitempty"`
	RefreshPolicy          *RefreshPolicy   `json:"refreshPolicy,omitempty"`
	RebindingPolicy        *RebindingPolicy `json:"rebindingPolicy,omitempty"`
}

// Resolver is one upstream that the resolver of the cell may ask.
type Resolver struct {
	ResolverID string `json:"resolverId"`
	// Endpoint is "IP:port" (v6 in brackets). Anything else is valid but
	// disables the resolver: profile portable warns, hardened refuses.
	Endpoint   string  `json:"endpoint,omitempty"`
	Protocol   string  `json:"protocol"` // do53-udp, do53-tcp, dot, doh, doq
	ServerName string  `json:"serverName,omitempty"`
	URL        string  `json:"url,omitempty"`
	DNSSEC     *DNSSEC `json:"dnssec,omitempty"`
}

// DNSSEC is the validation policy of one resolver.
type DNSSEC struct {
	Validate         bool   `json:"validate,omitempty"`
	FailClosed       bool   `json:"failClosed,omitempty"`
	TrustAnchorsPath string `json:"trustAnchorsPath,omitempty"`
}

// RefreshPolicy is when the answers of an allowed name are looked up again.
type RefreshPolicy struct {
	Strategy        string `json:"strategy,omitempty"` // "ttl-honor" or "manual"
	MinTTLSeconds   *int64 `json:"minTtlSeconds,omitempty"`
	MaxStaleSeconds *int64 `json:"maxStaleSeconds,omitempty"`
}

// RebindingPolicy bounds how the addresses behind a name may change.
type RebindingPolicy struct {
	MaxNovelIPsPerHostname *int64   `json:"maxNovelIpsPerHostname,omitempty"`
	ResponseIPAllowlist    []string `json:"responseIpAllowlist,omitempty"` // IP addresses or CIDR prefixes
	RejectOnRebind         bool     `json:"rejectOnRebind,omitempty"`
}

// Filesystem is what of the host's files the cell may see.
type Filesystem struct {
	Mounts []Mount `json:"mounts"`
}

// Mount is one path of the host made visible in the cell.
type Mount struct {
	Source   string `json:"source"` // absolute host path
	Target   string `json:"target"` // absolute path in the cell
	ReadOnly *bool  `json:"readOnly,omitempty"`
	// Protect lists relative paths that stay read-only in a writable mount.
	Protect []string `json:"protect,omitempty"`
}

// Lifetime is the hard deadline of a cell, from acceptance to the end of its
// last process.
type Lifetime struct {
	TTLSeconds int64 `json:"ttlSeconds"` // at least 1
}

// SecretDelivery is how secrets reach the workload.
type SecretDelivery string

// The ways a secret may be delivered.
const (
	DeliverEnv                 SecretDelivery = "env"
	DeliverFile                SecretDelivery = "file"
	DeliverRuntimeBroker       SecretDelivery = "runtimeBroker"
	DeliverRuntimeLeasedBroker SecretDelivery = "runtimeLeasedBroker"
)

// Run is the program of the cell.
type Run struct {
	// Argv is executed directly, never through a shell.
	Argv []string `json:"argv"`
	User string   `json:"user,omitempty"` // "uid[:gid]" or a name
	// WorkingDirectory is a fresh tmpfs unless it lies in a declared mount.
	WorkingDirectory string         `json:"workingDirectory,omitempty"`
	SecretDelivery   SecretDelivery `json:"secretDelivery,omitempty"`
	// One of the two at most.
	TimeoutMs      *int64  `json:"timeoutMs,omitempty"`
	TimeoutSeconds *int64  `json:"timeoutSeconds,omitempty"`
	Limits         *Limits `json:"limits,omitempty"`
	Phases         *Phases `json:"phases,omitempty"`
}

// Limits bounds what the cell consumes. An absent limit has the default that
// package plan gives it.
type Limits struct {
	MemoryMaxBytes *int64  `json:"memoryMaxBytes,omitempty"`
	CPUMax         *CPUMax `json:"cpuMax,omitempty"`
	PidsMax        *int64  `json:"pidsMax,omitempty"`      // default 1024
	OpenFilesMax   *int64  `json:"openFilesMax,omitempty"` // default 1024
	// DiskMaxBytes bounds what the cell's own file systems hold together;
	// default 1 GiB.
	DiskMaxBytes *int64 `json:"diskMaxBytes,omitempty"`
	// EventsMaxBytes bounds the journal of the cell, past which it is
	// killed; default 64 MiB.
	EventsMaxBytes *int64 `json:"eventsMaxBytes,omitempty"`
	// GracefulShutdownSeconds is the time between TERM and KILL; default 5.
	GracefulShutdownSeconds *int64 `json:"gracefulShutdownSeconds,omitempty"`
}

// CPUMax is a CPU bandwidth limit as cgroup v2's cpu.max has it.
type CPUMax struct {
	QuotaMicros  int64  `json:"quotaMicros"`
	PeriodMicros *int64 `json:"periodMicros,omitempty"`
}

// Phases are steps with an authority of their own, before the run.
type Phases struct {
	Setup *SetupPhase `json:"setup,omitempty"`
}

// SetupPhase runs before the program, with a wider network that is closed
// before the program starts.
type SetupPhase struct {
	Argv              []string     `json:"argv"`
	EgressRules       []EgressRule `json:"egressRules,omitempty"`
	HostnameAllowlist []string     `json:"hostnameAllowlist,omitempty"`
	TimeoutMs         *int64       `json:"timeoutMs,omitempty"`
}

// Export is what leaves the cell after its program ended.
type Export struct {
	Targets   []ExportTarget `json:"targets,omitempty"`
	Artifacts []Artifact     `json:"artifacts"`
}

// ExportTarget is a named place that artifacts go to.
type ExportTarget struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "local", "http" or "s3"
	// Where: a directory for local, a URL for http, bucket, prefix and
	// region for s3.
	Path    string `json:"path,omitempty"`
	BaseURL string `json:"baseUrl,omitempty"`
	Bucket  string `json:"bucket,omitempty"`
	Prefix  string `json:"prefix,omitempty"`
	Region  string `json:"region,omitempty"`
}

// Artifact is one file of the cell to export.
type Artifact struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	Target string `json:"target,omitempty"`
}

// Telemetry is what the cell reports about itself.
type Telemetry struct {
	GuestAgent *bool `json:"guestAgent,omitempty"`
}

package event

// Placement says where an operator wanted a cell to run.
type Placement struct {
	PoolID              string `json:"poolId,omitempty"`
	KubernetesNamespace string `json:"kubernetesNamespace,omitempty"`
	QueueName           string `json:"queueName,omitempty"`
}

// Correlation ties a cell to what started it.
type Correlation struct {
	CorrelationID string            `json:"correlationId,omitempty"`
	TenantID      string            `json:"tenantId,omitempty"`
	Platform      string            `json:"platform,omitempty"`
	ExternalRunID string            `json:"externalRunId,omitempty"`
	ExternalJobID string            `json:"externalJobId,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
}

// Verdicts of an AdmissionDecided.
const (
	VerdictAllowed = "allowed"
	VerdictDenied  = "denied"
)

// A Violation is one reason against a cell. It names the field, never its
// value: a refused document may hold anything.
type Violation struct {
	Path   string `json:"path,omitempty"`
	Rule   string `json:"rule"`
	Remedy string `json:"remedy,omitempty"`
}

// AdmissionDecided is emitted before anything is created, also for a document
// that is invalid but has a valid id.
type AdmissionDecided struct {
	Verdict           string          `json:"verdict"`
	Violations        List[Violation] `json:"violations"`
	Warnings          []Violation     `json:"warnings,omitempty"`
	PolicyPackID      string          `json:"policyPackId,omitempty"`
	PolicyPackVersion string          `json:"policyPackVersion,omitempty"`
	PolicyPackDigest  string          `json:"policyPackDigest,omitempty"`
	SpecHash          string          `json:"specHash,omitempty"`
}

// EventType implements Data.
func (AdmissionDecided) EventType() string { return TypePrefix + "admission.v1.decided" }

// A Control is one line of the isolation report.
type Control struct {
	State string `json:"state"` // enforced, partial, unavailable or unknown
	By    string `json:"by"`    // the mechanism, or why there is none
}

// LifecycleStarted is emitted once the secrets are there and before the
// workload runs.
type LifecycleStarted struct {
	Backend    string             `json:"backend"`
	Profile    string             `json:"profile,omitempty"`
	Isolation  map[string]Control `json:"isolation"`
	Namespaces []string           `json:"namespaces,omitempty"`
	SpecHash   string             `json:"specHash"`
	Placement  *Placement         `json:"placement,omitempty"`

	NetworkRulesDigest      string `json:"networkRulesDigest,omitempty"`
	ImageDigest             string `json:"imageDigest,omitempty"`
	KernelDigestSHA256      string `json:"kernelDigestSha256,omitempty"`
	RootfsDigestSHA256      string `json:"rootfsDigestSha256,omitempty"`
	FirecrackerDigestSHA256 string `json:"firecrackerDigestSha256,omitempty"`
}

// EventType implements Data.
func (LifecycleStarted) EventType() string { return TypePrefix + "lifecycle.v1.started" }

// IdentityMaterialized says which secrets a cell was given: their names, never
// a value.
type IdentityMaterialized struct {
	KeyNames List[string] `json:"keyNames"`
	Delivery string       `json:"delivery"`
	LeaseID  string       `json:"leaseId,omitempty"`
}

// EventType implements Data.
func (IdentityMaterialized) EventType() string { return TypePrefix + "identity.v1.materialized" }

// IdentityFailed says that a secret could not be had, so the cell does not run.
type IdentityFailed struct {
	KeyNames List[string] `json:"keyNames"`
	Delivery string       `json:"delivery,omitempty"`
	Reason   string       `json:"reason"`
}

// EventType implements Data.
func (IdentityFailed) EventType() string { return TypePrefix + "identity.v1.failed" }

// IdentityRevoked says that a cell's secrets are no longer held or leased.
type IdentityRevoked struct {
	KeyNames List[string] `json:"keyNames"`
	LeaseID  string       `json:"leaseId,omitempty"`
	// Error is set if the broker could not revoke a lease.
	Error string `json:"error,omitempty"`
}

// EventType implements Data.
func (IdentityRevoked) EventType() string { return TypePrefix + "identity.v1.revoked" }

// ProcessSpawned says that the workload is running.
type ProcessSpawned struct {
	Program string `json:"program"`
	Argc    int    `json:"argc"`
	PID     int    `json:"pid"`
}

// EventType implements Data.
func (ProcessSpawned) EventType() string { return TypePrefix + "observability.v1.process_spawned" }

// Usage is what a workload consumed.
type Usage struct {
	CPUMicros       int64 `json:"cpuMicros"`
	MemoryPeakBytes int64 `json:"memoryPeakBytes,omitempty"`
}

// CommandCompleted says how the workload ended. Exactly one of ExitCode,
// Signal and SpawnError is set; a cell that was killed from outside has Reason
// as well.
type CommandCompleted struct {
	Argv       List[string] `json:"argv"`
	ExitCode   *int         `json:"exitCode,omitempty"`
	Signal     string       `json:"signal,omitempty"` // such as SIGKILL
	SpawnError string       `json:"spawnError,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	DurationMs int64        `json:"durationMs"`
	Usage      *Usage       `json:"usage,omitempty"`
}

// EventType implements Data.
func (CommandCompleted) EventType() string { return TypePrefix + "command.v1.completed" }

// ComplianceSummary repeats what a reviewer asks first.
type ComplianceSummary struct {
	LifetimeTTLSeconds     int64        `json:"lifetimeTtlSeconds"`
	EgressRuleCount        int          `json:"egressRuleCount"`
	SecretDeliveryMode     string       `json:"secretDeliveryMode,omitempty"`
	PolicyPackID           string       `json:"policyPackId,omitempty"`
	PolicyPackVersion      string       `json:"policyPackVersion,omitempty"`
	PolicyPackBundleDigest string       `json:"policyPackBundleDigest,omitempty"`
	Placement              *Placement   `json:"placement,omitempty"`
	CommandExitCode        *int         `json:"commandExitCode,omitempty"`
	Correlation            *Correlation `json:"correlation,omitempty"`
}

// EventType implements Data.
func (ComplianceSummary) EventType() string { return TypePrefix + "compliance.v1.summary" }

// Outcomes of a LifecycleDestroyed.
const (
	OutcomeSucceeded = "succeeded"
	OutcomeFailed    = "failed"
)

// Residue classes of a LifecycleDestroyed and an EvidenceBundle.
const (
	ResidueNone      = "none"      // every resource was checked and is gone
	ResidueInferred  = "inferred"  // gone by a rule that could not be checked
	ResidueRemaining = "remaining" // something is still there, and is named
)

// LifecycleDestroyed is the last event but one. It never has an exit code.
type LifecycleDestroyed struct {
	Outcome      string `json:"outcome"`
	Reason       string `json:"reason,omitempty"`
	ResidueClass string `json:"residueClass"`
	// EvidenceBundleRef is BundleRef of the run.
	EvidenceBundleRef string `json:"evidenceBundleRef"`
	// TerminalState is clean or forced; backends with a virtual machine only.
	TerminalState string `json:"terminalState,omitempty"`
}

// EventType implements Data.
func (LifecycleDestroyed) EventType() string { return TypePrefix + "lifecycle.v1.destroyed" }

// BundleRef names the evidence bundle of a run, which has exactly one.
func BundleRef(runID string) string { return "urn:cellos:evidence-bundle:" + runID }

// Methods and strengths of a Resource's check.
const (
	MethodPidfd  = "pidfd"
	MethodPath   = "path"
	MethodCgroup = "cgroup"
	MethodNSScan = "nsScan"

	StrengthVerified = "verified"
	StrengthInferred = "inferred"
)

// A Resource is one thing that was created for a cell and how it was found to
// be gone.
type Resource struct {
	Kind     string `json:"kind"`
	ID       string `json:"id"`
	Method   string `json:"method,omitempty"`
	Strength string `json:"strength,omitempty"`
	// Error says why a resource in Remaining could not be removed.
	Error string `json:"error,omitempty"`
}

// EvidenceBundle is the last event of a run. It describes the chain up to the
// record before itself.
type EvidenceBundle struct {
	ChainID    string           `json:"chainId"`
	FirstSeq   uint64           `json:"firstSeq"`
	LastSeq    uint64           `json:"lastSeq"`
	HeadDigest Digest           `json:"headDigest"`
	Counts     map[string]int64 `json:"counts"` // by event type
	SpecHash   string           `json:"specHash,omitempty"`

	StartedEventRef           string   `json:"startedEventRef,omitempty"`
	CellDestroyedEventRef     string   `json:"cellDestroyedEventRef"`
	CommandCompletedEventRef  string   `json:"commandCompletedEventRef,omitempty"`
	ComplianceSummaryEventRef string   `json:"complianceSummaryEventRef,omitempty"`
	IdentityEventRefs         []string `json:"identityEventRefs,omitempty"`
	SpawnedEventRefs          []string `json:"spawnedEventRefs,omitempty"`
	ExportEventRefs           []string `json:"exportEventRefs,omitempty"`

	ResidueClass string         `json:"residueClass"`
	Receipt      List[Resource] `json:"receipt"`
	Remaining    List[Resource] `json:"remaining"`

	// Recovered is true if the run's own supervisor did not write this. Counts
	// of repeated events may then lack what happened after
	// CountsCompleteUntil.
	Recovered           bool       `json:"recovered,omitempty"`
	CountsCompleteUntil *Timestamp `json:"countsCompleteUntil,omitempty"`
}

// EventType implements Data.
func (EvidenceBundle) EventType() string { return TypePrefix + "evidence_bundle.v1.emitted" }

package event

// RunOpened is written to the host chain before anything of a run exists.
type RunOpened struct {
	SpecHash string `json:"specHash,omitempty"`
}

// EventType implements Data.
func (RunOpened) EventType() string { return TypePrefix + "host.v1.run_opened" }

// RunSealed is written to the host chain when the chain of a run has ended.
type RunSealed struct {
	ChainSeq uint64 `json:"chainSeq"` // of the last record
	Digest   Digest `json:"digest"`   // of the last record
}

// EventType implements Data.
func (RunSealed) EventType() string { return TypePrefix + "host.v1.run_sealed" }

// AuditRecovered is the first record of whoever takes a chain up. Bytes is 0
// if there was no torn tail. It is the only record at which the key of a chain
// may change.
type AuditRecovered struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"`
	File   string `json:"file,omitempty"` // where the tail is, beside the journal
}

// EventType implements Data.
func (AuditRecovered) EventType() string { return TypePrefix + "audit.v1.recovered" }

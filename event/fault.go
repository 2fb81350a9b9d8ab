package event

import "fmt"

// A FaultClass is what is wrong with a record or a trail. It is an error, so
// that errors.Is finds it.
type FaultClass string

// The classes, in the order in which a record is checked.
const (
	FaultTruncated FaultClass = "truncated"     // the last line has no end
	FaultMalformed FaultClass = "malformed"     // not a record
	FaultEnvelope  FaultClass = "envelope"      // the envelope contradicts its event
	FaultUnsigned  FaultClass = "unsigned"      // and that was not allowed
	FaultNoKey     FaultClass = "unknown key"   // signed by a key that is not trusted
	FaultAlgorithm FaultClass = "algorithm"     // not the algorithm of that key
	FaultSignature FaultClass = "signature"     // changed after it was signed
	FaultRekeyed   FaultClass = "rekeyed"       // the key changed where it may not
	FaultEnded     FaultClass = "after the end" // a record after the evidence bundle
	FaultReplayed  FaultClass = "replayed"      // this place in the chain is taken
	FaultGap       FaultClass = "gap"           // records before this one are missing
	FaultRelinked  FaultClass = "relinked"      // the record before is another one
	FaultSubject   FaultClass = "wrong run"     // the data names another run than the chain
	FaultBundle    FaultClass = "false bundle"  // an evidence bundle that contradicts its chain
	FaultMissing   FaultClass = "missing run"   // opened on this host, not in the files
	FaultUnopened  FaultClass = "unopened run"  // in the files, never opened on this host
	FaultCut       FaultClass = "cut"           // the chain ends before or after its seal
	FaultHead      FaultClass = "head"          // the host chain lacks the anchor
	FaultHostChain FaultClass = "no host chain" // what should be a host chain is not one
)

func (c FaultClass) Error() string { return string(c) }

// A Fault is one thing that is wrong, and where.
type Fault struct {
	Class  FaultClass `json:"class"`
	File   string     `json:"file,omitempty"`
	Line   int        `json:"line,omitempty"`
	Chain  string     `json:"chain,omitempty"`
	Seq    uint64     `json:"seq"`
	Detail string     `json:"detail"`
}

func (f *Fault) Error() string {
	s := string(f.Class) + ": " + f.Detail
	if f.Chain != "" {
		s = fmt.Sprintf("run %.140q, record %d: %s", f.Chain, f.Seq, s)
	}
	switch {
	case f.File != "" && f.Line > 0:
		s = fmt.Sprintf("%s:%d: %s", f.File, f.Line, s)
	case f.File != "":
		s = f.File + ": " + s
	}
	return s
}

// Unwrap makes errors.Is find the class.
func (f *Fault) Unwrap() error { return f.Class }

func malformed(format string, args ...any) *Fault {
	return &Fault{Class: FaultMalformed, Detail: fmt.Sprintf(format, args...)}
}

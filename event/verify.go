package event

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxFaults bounds how many faults a Report lists; it counts all.
const maxFaults = 100

// A Verifier checks journals. It needs memory for each chain, not for each
// record. Files may be read in any order and the chains in them interleave in
// any way, but the host chain comes first: it says what to expect.
type Verifier struct {
	Keys *Keys
	// AllowUnsigned accepts records with the algorithm none. Their chain then
	// proves only that nobody damaged it by accident.
	AllowUnsigned bool
	// Head is a record that the host chain has to contain, if not nil.
	Head *Head

	chains   map[string]*chain
	runs     map[string]*hostRun // by run id; nil without a host chain
	present  map[string]bool     // nil unless Present was called
	host     *chain
	headSeen bool

	records int64
	faults  []*Fault
	count   int
}

// A Head is an anchor of a host chain, kept where the host cannot change it.
type Head struct {
	Seq    uint64
	Digest Digest
}

func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Seq, h.Digest) }

// ParseHead reads SEQ:DIGEST.
func ParseHead(s string) (Head, error) {
	seq, digest, ok := strings.Cut(s, ":")
	var h Head
	var err error
	if h.Digest, err = ParseDigest(digest); !ok || err != nil {
		return h, fmt.Errorf("%.100q is not SEQ:DIGEST, as cellos audit head prints it", s)
	}
	for _, b := range []byte(seq) {
		if b < '0' || b > '9' || len(seq) > 15 {
			return h, fmt.Errorf("%.100q is not SEQ:DIGEST, as cellos audit head prints it", s)
		}
		h.Seq = h.Seq*10 + uint64(b-'0')
	}
	if seq == "" {
		return h, fmt.Errorf("%.100q is not SEQ:DIGEST, as cellos audit head prints it", s)
	}
	return h, nil
}

// hostRun is what the host chain says about a run.
type hostRun struct {
	file   string
	line   int // of its run_opened
	sealed bool
	seal   RunSealed
}

// chain is the state of one chain.
type chain struct {
	ChainReport
	next    Link
	alg     Alg
	broken  bool // a fault was found; what follows would only repeat it
	ended   bool
	refused bool // the last record is an admission that denied the cell
	runID   string
}

// A ChainReport is what a Verifier says about one chain.
type ChainReport struct {
	Chain     string    `json:"chain"`
	File      string    `json:"file"`
	Records   int64     `json:"records"`
	Head      Digest    `json:"head"`
	LastSeq   uint64    `json:"lastSeq"`
	LastTime  time.Time `json:"lastTime"`
	KID       string    `json:"kid,omitempty"`
	Unsigned  bool      `json:"unsigned,omitempty"`
	Recovered int       `json:"recovered,omitempty"` // times it was taken up after a crash
	Finished  bool      `json:"finished"`
	Faulty    bool      `json:"faulty,omitempty"`
}

// A Report is the result of a verification.
type Report struct {
	Records int64         `json:"records"`
	Host    *ChainReport  `json:"host,omitempty"`
	Runs    []ChainReport `json:"runs"`
	// Faults are the first of FaultCount, in the order in which they were
	// found; those of files come before those of the whole.
	Faults     []*Fault `json:"faults"`
	FaultCount int      `json:"faultCount"`
	Unfinished []string `json:"unfinished,omitempty"`
}

// Valid reports whether nothing is wrong. Unfinished runs are not wrong.
func (r *Report) Valid() bool { return r.FaultCount == 0 }

func (v *Verifier) fault(f *Fault) {
	v.count++
	if len(v.faults) < maxFaults {
		v.faults = append(v.faults, f)
	}
}

// HostChain reads the chain of a host. The error is that of the reader.
func (v *Verifier) HostChain(name string, r io.Reader) error {
	v.runs = make(map[string]*hostRun)
	return v.lines(name, r, func(line int, rec *Record) *Fault {
		if v.host == nil {
			v.host = newChain(rec.Chain, name)
		}
		if v.host.broken {
			return nil
		}
		f := v.hostLink(rec)
		if f == nil {
			f = v.hostRecord(name, line, rec)
		}
		if f != nil {
			v.host.broken, v.host.Faulty = true, true
		}
		return f
	})
}

func (v *Verifier) hostLink(rec *Record) *Fault {
	if rec.Chain != v.host.Chain {
		return &Fault{Class: FaultHostChain, Detail: fmt.Sprintf("a record of chain %.140q in the host chain %.140q", rec.Chain, v.host.Chain)}
	}
	if f := v.link(v.host, rec); f != nil {
		return f
	}
	if v.Head == nil || v.Head.Seq != rec.Seq {
		return nil
	}
	v.headSeen = true
	if v.Head.Digest != rec.Digest {
		return &Fault{Class: FaultHead, Detail: fmt.Sprintf("the digest is %s, the anchor says %s", rec.Digest, v.Head.Digest)}
	}
	return nil
}

// Present says that there is a file for a run, if maybe an empty one. A caller
// who has all files of a host calls it for each of them: then a run that was
// opened and has none is missing, where it would else count as killed before
// its first record.
func (v *Verifier) Present(runID string) {
	if v.present == nil {
		v.present = make(map[string]bool)
	}
	v.present[runID] = true
}

// hostRecord notes what a record of the host chain says about a run.
func (v *Verifier) hostRecord(file string, line int, rec *Record) *Fault {
	runID := rec.Scope().RunID
	switch rec.Type {
	case RunOpened{}.EventType():
		if runID == "" {
			return malformed("a run without an id")
		}
		if v.runs[runID] != nil {
			return &Fault{Class: FaultReplayed, Detail: fmt.Sprintf("run %.140q was opened before", runID)}
		}
		v.runs[runID] = &hostRun{file: file, line: line}
	case RunSealed{}.EventType():
		run := v.runs[runID]
		if run == nil {
			return &Fault{Class: FaultUnopened, Detail: fmt.Sprintf("run %.140q is sealed, but was not opened", runID)}
		}
		if run.sealed {
			return &Fault{Class: FaultReplayed, Detail: fmt.Sprintf("run %.140q was sealed before", runID)}
		}
		var seal struct {
			ChainSeq uint64
			Digest   string
		}
		digest, err := Digest{}, rec.Decode(&seal)
		if err == nil {
			digest, err = ParseDigest(seal.Digest)
		}
		if err != nil {
			return malformed("seal of run %.140q: %v", runID, err)
		}
		run.sealed, run.seal = true, RunSealed{ChainSeq: seal.ChainSeq, Digest: digest}
	case AuditRecovered{}.EventType():
	default:
		return &Fault{Class: FaultHostChain, Detail: fmt.Sprintf("%.140q is not an event of a host chain", rec.Type)}
	}
	return nil
}

// Runs reads a file with chains of runs. The error is that of the reader.
func (v *Verifier) Runs(name string, r io.Reader) error {
	if v.chains == nil {
		v.chains = make(map[string]*chain)
	}
	return v.lines(name, r, func(_ int, rec *Record) *Fault {
		if strings.HasPrefix(rec.Type, TypePrefix+"host.") {
			return &Fault{Class: FaultMalformed, Detail: "a record of a host chain: give that file as --host-chain"}
		}
		c := v.chains[rec.Chain]
		if c == nil {
			// No state for what nobody we trust has signed: a hostile file
			// could name a new run in every line.
			if f := v.authentic(rec); f != nil {
				return f
			}
			c = newChain(rec.Chain, name)
			c.runID = rec.Chain
			v.chains[rec.Chain] = c
		}
		if c.broken {
			return nil
		}
		f := v.link(c, rec)
		if f == nil {
			f = c.runRecord(rec)
		}
		if f != nil {
			c.broken, c.Faulty = true, true
		}
		return f
	})
}

// runRecord checks what only the chain of a run has.
func (c *chain) runRecord(rec *Record) *Fault {
	// Copying a record from another run changes its chain or its data.
	if id := rec.Scope().RunID; id != "" && id != c.runID {
		return &Fault{Class: FaultSubject, Detail: fmt.Sprintf("the data names run %.140q", id)}
	}
	c.refused = false
	switch rec.Type {
	case EvidenceBundle{}.EventType():
		c.ended = true
		return c.bundle(rec)
	case AdmissionDecided{}.EventType():
		var data struct{ Verdict string }
		c.refused = rec.Decode(&data) == nil && data.Verdict == VerdictDenied
	}
	return nil
}

// bundle compares what an evidence bundle says about its chain.
func (c *chain) bundle(rec *Record) *Fault {
	var data struct {
		ChainID    string
		FirstSeq   uint64
		LastSeq    uint64
		HeadDigest string
		Counts     map[string]int64
	}
	if err := rec.Decode(&data); err != nil {
		return malformed("%v", err)
	}
	var sum int64
	for _, n := range data.Counts {
		sum += n
	}
	switch {
	case data.ChainID != c.Chain:
		return &Fault{Class: FaultBundle, Detail: fmt.Sprintf("it is about chain %.140q", data.ChainID)}
	case data.FirstSeq != 0 || data.LastSeq+1 != rec.Seq || data.HeadDigest != rec.Prev.String():
		return &Fault{Class: FaultBundle, Detail: "first, last or head are not those of the chain before it"}
	case sum != c.Records-1:
		return &Fault{Class: FaultBundle, Detail: fmt.Sprintf("it counts %d records, there are %d", sum, c.Records-1)}
	}
	return nil
}

// lines calls check for every record, and files the faults.
func (v *Verifier) lines(name string, r io.Reader, check func(int, *Record) *Fault) error {
	lines := NewLines(r)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var rec *Record
		if err == nil {
			v.records++
			rec, err = ParseRecord(line)
		}
		var fault *Fault
		if err == nil {
			fault = check(lines.Num, rec)
		} else if !errors.As(err, &fault) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if fault == nil {
			continue
		}
		fault.File, fault.Line = name, lines.Num
		if rec != nil {
			fault.Chain, fault.Seq = rec.Chain, rec.Seq
		}
		v.fault(fault)
	}
}

func newChain(id, file string) *chain {
	return &chain{ChainReport: ChainReport{Chain: id, File: file}, next: Link{Chain: id}}
}

// link checks rec against its key and its chain, and moves the chain on. The
// signature comes first: what is not authentic is not worth comparing.
func (v *Verifier) link(c *chain, rec *Record) *Fault {
	if f := v.authentic(rec); f != nil {
		return f
	}
	switch {
	case c.ended:
		return &Fault{Class: FaultEnded, Detail: "the evidence bundle was the last record"}
	case rec.Seq < c.next.Seq:
		return &Fault{Class: FaultReplayed, Detail: fmt.Sprintf("record %d was there before, the next is %d", rec.Seq, c.next.Seq)}
	case rec.Seq > c.next.Seq:
		return &Fault{Class: FaultGap, Detail: fmt.Sprintf("the next record is %d: %d missing or moved", c.next.Seq, rec.Seq-c.next.Seq)}
	case rec.Prev != c.next.Prev:
		return &Fault{Class: FaultRelinked, Detail: fmt.Sprintf("it follows %s, but the record before is %s", rec.Prev, c.next.Prev)}
	case c.Records > 0 && (rec.KID != c.KID || rec.Alg != c.alg) && rec.Type != (AuditRecovered{}).EventType():
		return &Fault{Class: FaultRekeyed, Detail: fmt.Sprintf("signed by %s, the record before by %s", keyName(rec.KID), keyName(c.KID))}
	}
	if rec.Type == (AuditRecovered{}).EventType() {
		c.Recovered++
	}
	c.Records++
	c.KID, c.alg = rec.KID, rec.Alg
	c.Unsigned = c.Unsigned || rec.Alg == None
	c.Head, c.LastSeq, c.LastTime = rec.Digest, rec.Seq, rec.Time
	c.next = rec.Next(rec.Digest)
	return nil
}

func keyName(kid string) string {
	if kid == "" {
		return "no key"
	}
	return fmt.Sprintf("key %.140q", kid)
}

// authentic checks the signature of rec.
func (v *Verifier) authentic(rec *Record) *Fault {
	if rec.Alg == None {
		if v.AllowUnsigned {
			return nil
		}
		return &Fault{Class: FaultUnsigned, Detail: "the record is not signed (CELLOS_EVENT_SIGNING was off)"}
	}
	key, ok := v.Keys.Get(rec.KID)
	switch {
	case !ok:
		return &Fault{Class: FaultNoKey, Detail: fmt.Sprintf("signed by %s, which is not among the keys", keyName(rec.KID))}
	case key.Alg != rec.Alg:
		return &Fault{Class: FaultAlgorithm, Detail: fmt.Sprintf("the record says %s, %s is for %s", rec.Alg, keyName(rec.KID), key.Alg)}
	case rec.Signature == nil:
		return &Fault{Class: FaultSignature, Detail: "the signature is missing"}
	case !key.Verify(rec.signed, rec.Signature):
		return &Fault{Class: FaultSignature, Detail: "the record is not what " + keyName(rec.KID) + " signed"}
	}
	return nil
}

// Report compares the runs with the host chain, and ends the verification.
func (v *Verifier) Report() *Report {
	report := &Report{Runs: []ChainReport{}}
	if v.Head != nil && !v.headSeen {
		detail := "there is no host chain to compare with"
		if v.host != nil {
			detail = fmt.Sprintf("the host chain ends at %d, the anchor is %s", v.host.LastSeq, v.Head)
		}
		v.fault(&Fault{Class: FaultHead, Detail: detail})
	}
	// A broken host chain has its fault; what it does not say is not another.
	compare := v.runs != nil && (v.host == nil || !v.host.broken)
	for _, id := range slices.Sorted(maps.Keys(v.chains)) {
		c := v.chains[id]
		c.Finished = c.ended || c.refused
		if compare {
			v.compare(c)
		}
		report.Runs = append(report.Runs, c.ChainReport)
		if !c.Finished && !c.Faulty {
			report.Unfinished = append(report.Unfinished, id)
		}
	}
	if compare {
		report.Unfinished = append(report.Unfinished, v.missing()...)
	}
	if v.host != nil {
		v.host.Finished = true // a host chain never ends
		report.Host = &v.host.ChainReport
	}
	slices.Sort(report.Unfinished)
	report.Records, report.Faults, report.FaultCount = v.records, v.faults, v.count
	return report
}

// missing reports the runs that the host chain knows and the files do not. It
// returns those that may have been killed before their first record.
func (v *Verifier) missing() (unfinished []string) {
	for _, id := range slices.Sorted(maps.Keys(v.runs)) {
		run := v.runs[id]
		switch {
		case v.chains[id] != nil:
		case run.sealed:
			v.fault(&Fault{Class: FaultMissing, File: run.file, Line: run.line, Chain: id,
				Detail: fmt.Sprintf("its %d records are in none of the files", run.seal.ChainSeq+1)})
		case v.present != nil && !v.present[id]:
			v.fault(&Fault{Class: FaultMissing, File: run.file, Line: run.line, Chain: id,
				Detail: "it was opened here, and its file is gone"})
		default:
			unfinished = append(unfinished, id)
		}
	}
	return unfinished
}

// compare checks where a chain ends against its seal.
func (v *Verifier) compare(c *chain) {
	run := v.runs[c.Chain]
	var f *Fault
	switch {
	case c.broken:
		return // there is a fault already, and the end is unknown
	case run == nil:
		f = &Fault{Class: FaultUnopened, Detail: "the host chain does not know this run"}
	case !run.sealed:
		c.Finished = false
		return
	case c.LastSeq != run.seal.ChainSeq:
		f = &Fault{Class: FaultCut, Detail: fmt.Sprintf("it ends at record %d, but was sealed at %d", c.LastSeq, run.seal.ChainSeq)}
	case c.Head != run.seal.Digest:
		f = &Fault{Class: FaultCut, Detail: fmt.Sprintf("its last record is %s, but was sealed as %s", c.Head, run.seal.Digest)}
	default:
		c.Finished = true
		return
	}
	f.File, f.Chain, f.Seq = c.File, c.Chain, c.LastSeq
	c.Faulty = true
	v.fault(f)
}

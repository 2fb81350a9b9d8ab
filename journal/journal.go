package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/event"
	"cellos.io/cellos/sink"
)

// SyncPolicy is when the journal is made to survive the host.
type SyncPolicy int

// The policies, named as in CELLOS_JOURNAL_SYNC.
const (
	SyncPhase  SyncPolicy = iota // when Run.Sync is called, and at the end
	SyncAlways                   // after every record
	SyncOff                      // never: the kernel writes when it likes
)

// ParseSync reads the value of CELLOS_JOURNAL_SYNC.
func ParseSync(s string) (SyncPolicy, error) {
	switch s {
	case "", "phase":
		return SyncPhase, nil
	case "always":
		return SyncAlways, nil
	case "off":
		return SyncOff, nil
	}
	return SyncPhase, fmt.Errorf("CELLOS_JOURNAL_SYNC: unknown value %.40q: want phase, always or off", s)
}

// Options configure a Journal.
type Options struct {
	Dir      string // the state directory
	Host     string
	Instance string // of the supervisor, unique on the host
	Signer   event.Signer
	Envelope event.Envelope
	Sync     SyncPolicy
	Redact   *event.Redactor
	// Mirrors get every record of a run once the journal has it. The chain of
	// the host is not mirrored: processes append to it in turns, and a mirror
	// could not keep their order.
	Mirrors []sink.Sink
	Clock   func() time.Time // nil means time.Now
}

// A Journal is the audit trail below one state directory. It is safe for
// concurrent use, also by several processes.
type Journal struct {
	opts   Options
	source string
	dir    string // DIR/journal

	allocate allocator

	mu   sync.Mutex
	host *hostChain
}

// Open opens the journal, and makes its directories if need be.
func Open(opts Options) (*Journal, error) {
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Signer == nil {
		return nil, errors.New("open journal: no signer (event.Unsigned signs nothing)")
	}
	j := &Journal{opts: opts, source: event.Source(opts.Host, opts.Instance), dir: Dir(opts.Dir), allocate: unix.Fallocate}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return nil, unusable(opts.Dir, err)
	}
	for _, dir := range [...]string{j.dir, filepath.Join(j.dir, "runs"), filepath.Join(j.dir, "open")} {
		// Events name programs, arguments and hosts: not for everyone.
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, unusable(opts.Dir, err)
		}
	}
	host, err := openHost(HostPath(opts.Dir), j.encoder(), j.allocate)
	if err != nil {
		return nil, unusable(opts.Dir, err)
	}
	j.host = host
	return j, nil
}

// Dir is where the journal lies below a state directory.
func Dir(stateDir string) string { return filepath.Join(stateDir, "journal") }

// HostPath is the chain of the host below a state directory.
func HostPath(stateDir string) string { return filepath.Join(Dir(stateDir), "host.jsonl") }

// RunPath is the chain of a run below a state directory.
func RunPath(stateDir, runID string) string {
	return filepath.Join(Dir(stateDir), "runs", runID+".jsonl")
}

// RunPaths are the chains of all runs below a state directory, in the order of
// their ids.
func RunPaths(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(Dir(stateDir), "runs"))
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".jsonl") {
			paths = append(paths, filepath.Join(Dir(stateDir), "runs", e.Name()))
		}
	}
	return paths, nil
}

func unusable(dir string, err error) error {
	return fmt.Errorf("state directory %s cannot be used (CELLOS_STATE_DIR names another): %w", dir, err)
}

func (j *Journal) encoder() event.Encoder {
	return event.Encoder{Signer: j.opts.Signer, Envelope: j.opts.Envelope, Redact: j.opts.Redact}
}

func (j *Journal) runPath(runID string) string {
	return RunPath(j.opts.Dir, runID)
}

func (j *Journal) markerPath(runID string) string {
	return filepath.Join(j.dir, "open", runID)
}

// StateDir is the state directory that the journal lies below.
func (j *Journal) StateDir() string { return j.opts.Dir }

// Warm computes what the first signature of a process costs beside the
// signature, about a millisecond for Ed25519. Call it on a goroutine of its
// own while the cell starts.
func (j *Journal) Warm() {
	// Nobody sees the signature, and it is of nothing that is a record.
	_, _ = j.opts.Signer.Sign([]byte("warm-up"))
}

// Close releases the journal. Runs that are open stay usable.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.host.Close()
}

// appendHost appends one event about a run to the chain of the host.
func (j *Journal) appendHost(scope event.Scope, data event.Data, reserve int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.host.append(event.New(j.source, scope, j.opts.Clock(), data), reserve)
}

package compose

import (
	"context"
	"errors"
	"fmt"
	"os"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/backend/nsproc"
	"cellos.io/cellos/backend/stub"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/policy"
	"cellos.io/cellos/secret/env"
	"cellos.io/cellos/secret/file"
	"cellos.io/cellos/sink"
	"cellos.io/cellos/sink/jsonl"
	"cellos.io/cellos/supervisor"
)

// Build makes the supervisor that the settings describe. An error means that
// a sink, a key or a directory cannot be used; nothing of a run exists then.
// The returned function releases the journal.
func Build(s *Settings, req Request) (*supervisor.Supervisor, func(), error) {
	lookup := lookupIn(req.Environ)
	getenv := func(name string) string { v, _ := lookup(name); return v }

	dirs, err := FindDirs(s, getenv)
	if err != nil {
		return nil, nil, err
	}
	if dirs.Fallback {
		req.Console.Warn(fmt.Sprintf("the default state directory cannot be written, so the journal is in %s; set CELLOS_STATE_DIR to keep it elsewhere", dirs.State))
	}
	opts := journal.Options{
		Dir: dirs.State, Host: hostname(), Instance: fmt.Sprint(os.Getpid()),
	}
	if opts.Signer, err = journal.LoadSigner(getenv, dirs.State); err != nil {
		return nil, nil, err
	}
	if opts.Envelope, err = event.ParseEnvelope(getenv("CELLOS_EVENT_ENVELOPE")); err != nil {
		return nil, nil, fmt.Errorf("CELLOS_EVENT_ENVELOPE: %w", err)
	}
	if opts.Sync, err = journal.ParseSync(getenv("CELLOS_JOURNAL_SYNC")); err != nil {
		return nil, nil, err
	}
	if opts.Redact, err = event.ParseRedactor(s.Redact); err != nil {
		return nil, nil, fmt.Errorf("CELLOS_REDACT_EVENT_FIELDS: %w", err)
	}
	if s.JSONLPath != "" {
		mirror, err := jsonl.Open(s.JSONLPath)
		if err != nil {
			return nil, nil, fmt.Errorf("%w; set CELLOS_JSONL_SINK_PATH to a file that can be written, or unset it", err)
		}
		opts.Mirrors = append(opts.Mirrors, mirror)
	}
	opts.Mirrors = append(opts.Mirrors, req.mirrors...)
	j, err := journal.Open(opts)
	if err != nil {
		return nil, nil, errors.Join(err, closeSinks(opts.Mirrors))
	}
	// The first signature costs more than the others; the cell need not wait.
	go j.Warm()
	facts := func(doc *cell.Document) plan.Host {
		host := HostFacts(s, doc, dirs.State, dirs.Runtime)
		if req.Interactive && host.DNSProxy == plan.Auto && host.Namespaces.Net && len(host.Nameservers) > 0 {
			host.DNSProxy = plan.On
		}
		return host
	}
	sup := &supervisor.Supervisor{
		Backend:    backendFor(s),
		Broker:     broker(s.Broker, lookup),
		Journal:    j,
		Operator:   policy.Operator{Argv0Prefixes: s.Argv0Prefixes},
		Facts:      facts,
		RuntimeDir: dirs.Runtime,
		Console:    req.Console,
		Stdin:      req.Workload, Stdout: req.Stdout, Stderr: req.Stderr,
		Interrupts: req.Interrupts,
	}
	return sup, func() { j.Close(); _ = closeSinks(opts.Mirrors) }, nil
}

// broker is the one that CELLOS_BROKER names.
func broker(name string, lookup func(string) (string, bool)) supervisor.Broker {
	if name == (*file.Broker)(nil).Name() {
		return file.New(lookup)
	}
	return env.New(lookup)
}

func closeSinks(sinks []sink.Sink) error {
	var errs []error
	for _, s := range sinks {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// lookupIn is os.LookupEnv for an environment that was passed in.
func lookupIn(environ []string) func(string) (string, bool) {
	vars := varsOf(environ)
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// hostname is the host part of the events' source.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// backendFor is the backend that the settings name.
func backendFor(s *Settings) supervisor.Backend {
	if s.Backend == "stub" {
		return adapter{stub.New(stub.Options{})}
	}
	return adapter{nativeBackend(s)}
}

func nativeBackend(s *Settings) *native.Backend {
	return native.New(native.Options{Cgroups: cgroup.Find(s.CgroupParent)})
}

// booter is a backend made of namespaces.
type booter interface {
	Name() string
	Resources(p *plan.Plan) ([]backend.Resource, error)
	Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (*nsproc.Cell, error)
}

// adapter gives its cells the type that the supervisor knows.
type adapter struct{ booter }

func (a adapter) Boot(ctx context.Context, p *plan.Plan, stdio [3]*os.File, lock *os.File) (supervisor.Cell, error) {
	c, err := a.booter.Boot(ctx, p, stdio, lock)
	if err != nil {
		return nil, err // not a nil *nsproc.Cell in an interface that is not nil
	}
	return c, nil
}

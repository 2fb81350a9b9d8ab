package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cellos.io/cellos/backend/native"
	"cellos.io/cellos/backend/stub"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/account"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/policy"
	"cellos.io/cellos/sink"
	"cellos.io/cellos/supervisor"
)

// Request is one document to run, and where its words go.
type Request struct {
	Path string // of the document; "-" is standard input
	// Document, if not nil, is the document itself; Path is its name in
	// messages then.
	Document   []byte
	ResultPath string // overrides CELLOS_RESULT_PATH
	Environ    []string
	Console    *console.Console
	// Input is where a document "-" is read from. Workload, if not nil, is
	// what the workload reads.
	Input, Workload io.Reader
	Stdout, Stderr  io.Writer
	Interrupts      <-chan os.Signal
	// Interactive is a run that a person watches: the resolver answers even
	// where nothing may be resolved, so that what is asked for in vain is
	// seen, and at the end there is a summary.
	Interactive bool
	// Advise, if not nil, says what to do about how a run ended.
	Advise func(supervisor.Outcome) []string

	mirrors []sink.Sink // beside those of the settings
}

// Run runs one document under the operator's settings, says how it ended and
// returns the exit code. The calling thread must be locked for the life of the
// process: see supervisor.Backend.
func Run(ctx context.Context, req Request) int {
	settings, err := ReadSettings(req.Environ)
	if req.ResultPath == "" && settings != nil {
		req.ResultPath = settings.ResultPath
	}
	if err != nil {
		return end(req, settingsOutcome(err), nil)
	}
	out, summary := run(ctx, settings, req)
	return end(req, out, summary)
}

// Refuse ends a request that cannot be run, as Run would: it writes the result
// file, says why and returns the exit code. Nothing was created.
func Refuse(req Request, out supervisor.Outcome) int {
	if req.ResultPath == "" {
		req.ResultPath = varsOf(req.Environ)["CELLOS_RESULT_PATH"]
	}
	return end(req, out, nil)
}

func end(req Request, out supervisor.Outcome, summary *account.Summary) int {
	if err := writeResult(req.ResultPath, out); err != nil {
		req.Console.Error(err.Error())
		if out.Succeeded() {
			out = internalError(err)
		}
	}
	say(req, out, summary)
	return out.Code
}

// run returns how the run ended and, if a person watches, what it came to.
func run(ctx context.Context, settings *Settings, req Request) (supervisor.Outcome, *account.Summary) {
	for _, w := range settings.Warnings {
		req.Console.Warn(w)
	}
	name, src, err := req.read()
	if err != nil {
		return supervisor.Outcome{Code: supervisor.ExitInvalidSpec, Source: supervisor.FromSupervisor, Reason: "invalid_spec", Detail: err.Error()}, nil
	}
	doc, parseErr := cell.Parse(name, src)
	var faults cell.Errors
	errors.As(parseErr, &faults)
	for _, fault := range faults {
		req.Console.Finding(fault.Error())
	}
	if settings.ValidateOnly {
		return explain(settings, doc, parseErr, req.Stdout), nil
	}
	id, identified := cell.ID(parseErr)
	if parseErr != nil && !identified {
		return invalid(), nil
	}
	seen := new(account.Account)
	if req.Interactive {
		req.mirrors = append(req.mirrors, seen)
	}
	sup, closeJournal, err := Build(settings, req)
	if err != nil {
		return internalError(err), nil
	}
	defer closeJournal()
	if parseErr != nil {
		return sup.Reject(ctx, id, faults), nil
	}
	collected, err := sup.Collect(ctx)
	for _, r := range collected {
		req.Console.Step("gc", r.String())
	}
	if err != nil {
		// What an earlier run left does not keep this one from running.
		req.Console.Warn(fmt.Sprintf("cleaning up after earlier runs: %v", err))
	}
	out := sup.Run(ctx, doc)
	if !req.Interactive || out.RunID == "" {
		return out, nil
	}
	summary := seen.Summary()
	summary.Journal = journal.RunPath(sup.Journal.StateDir(), out.RunID)
	return out, summary
}

func (r *Request) read() (name string, src []byte, err error) {
	if r.Document != nil {
		return r.Path, r.Document, nil
	}
	return ReadDocument(r.Path, r.Input)
}

// ReadDocument reads a file, or standard input for "-", and names it as errors
// do. It reads at most one byte more than a document may have, so that
// cell.Parse sees that it is too large.
func ReadDocument(path string, stdin io.Reader) (name string, src []byte, err error) {
	if path == "-" {
		src, err = io.ReadAll(io.LimitReader(stdin, cell.MaxBytes+1))
		return "<stdin>", src, err
	}
	f, err := os.Open(path)
	if err != nil {
		return path, nil, err
	}
	defer f.Close()
	src, err = io.ReadAll(io.LimitReader(f, cell.MaxBytes+1))
	return path, src, err
}

// HostFacts are what a plan depends on besides the document: what the operator
// set and what this host has of what the document is about. Private are
// directories of CellOS itself.
func HostFacts(s *Settings, doc *cell.Document, private ...string) plan.Host {
	host := plan.Host{
		Profile: s.Profile, Backend: s.Backend,
		DNSProxy: s.DNSProxy, UpstreamOverride: s.UpstreamOverride, Nameservers: Nameservers(),
		RunTimeoutMax: s.RunTimeoutMax,
	}
	root := os.Geteuid() == 0
	if s.Backend == "stub" {
		host.TestDouble = true
		host.Namespaces = s.Unshare
		// Ending a cell is ending its PID 1, so the stub always has a pid
		// namespace; without root it takes a user namespace to make one.
		host.Namespaces.PID = true
		host.Namespaces.User = host.Namespaces.User || !root
		host.Isolation = stub.New(stub.Options{}).Isolation(host.Namespaces)
		return host
	}
	host.Namespaces = native.Namespaces
	host.Isolation = nativeBackend(s).Isolation(!root)
	host.Relay, host.IPv6, host.IDBlocks = true, hasIPv6(), root
	host.Files = native.HostFiles(doc, private...)
	return host
}

// hasIPv6 is whether the kernel has IPv6 at all, also where no interface uses
// it (ipv6(7)).
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// Plan is what Run would enforce for a document, and what it would refuse.
// Nothing is run and nothing created.
func Plan(s *Settings, doc *cell.Document) (*plan.Plan, []plan.Finding) {
	return plan.Compile(doc, HostFacts(s, doc))
}

// WritePlan writes a plan and its refusals as JSON.
func WritePlan(w io.Writer, p *plan.Plan, refusals []plan.Finding) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		*plan.Plan
		Refusals []plan.Finding `json:"refusals"`
	}{p, refusals})
}

// explain prints what would be enforced.
func explain(s *Settings, doc *cell.Document, parseErr error, w io.Writer) supervisor.Outcome {
	if parseErr != nil {
		return invalid()
	}
	p, refusals := Plan(s, doc)
	if err := WritePlan(w, p, refusals); err != nil {
		return internalError(err)
	}
	operator := policy.Operator{Argv0Prefixes: s.Argv0Prefixes}
	if violations := operator.Decide(doc); len(violations) > 0 {
		return supervisor.Outcome{
			Code: supervisor.ExitDenied, Source: supervisor.FromSupervisor, Reason: "denied_by_policy",
			Detail: fmt.Sprintf("denied by policy: %v; nothing was run", violations[0]),
		}
	}
	if len(refusals) > 0 {
		return supervisor.Outcome{
			Code: supervisor.ExitCannot, Source: supervisor.FromSupervisor, Reason: "cannot_enforce",
			Detail: fmt.Sprintf("%d things cannot be enforced here: see refusals", len(refusals)),
		}
	}
	return supervisor.Outcome{Source: supervisor.FromSupervisor, Reason: "validated", Detail: "valid, and enforceable as printed; nothing was run"}
}

func invalid() supervisor.Outcome {
	return supervisor.Outcome{Code: supervisor.ExitInvalidSpec, Source: supervisor.FromSupervisor, Reason: "invalid_spec",
		Detail: "the document is invalid, nothing was run"}
}

func internalError(err error) supervisor.Outcome {
	return supervisor.Outcome{Code: supervisor.ExitInternal, Source: supervisor.FromSupervisor, Reason: "internal_error", Detail: err.Error()}
}

// settingsOutcome refuses a run because of its settings: 122 if all that is
// wrong is that this build cannot honour one of them.
func settingsOutcome(err error) supervisor.Outcome {
	out := internalError(err)
	out.Reason = "invalid_settings"
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return out
	}
	for _, e := range joined.Unwrap() {
		var unbuilt *UnbuiltError
		if !errors.As(e, &unbuilt) {
			return out
		}
	}
	out.Code, out.Reason = supervisor.ExitCannot, "cannot_enforce"
	return out
}

// SettingsCode is the exit code of a command whose settings are wrong.
func SettingsCode(err error) int { return settingsOutcome(err).Code }

// writeResult writes the outcome so that a reader sees all of it or nothing.
func writeResult(path string, out supervisor.Outcome) error {
	if path == "" {
		return nil
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".cellos-result-")
	if err != nil {
		return fmt.Errorf("result file: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("result file: %w", err)
	}
	return nil
}

// say ends the words of a run.
func say(req Request, out supervisor.Outcome, summary *account.Summary) {
	e := console.Ending{Message: out.Detail, OK: out.Succeeded(), Attrs: outcomeAttrs(out)}
	if e.Message == "" {
		e.Message = out.Reason
	}
	if e.OK {
		e.Message = "done: " + e.Message
	} else {
		e.Message = fmt.Sprintf("%s (exit %d)", e.Message, out.Code)
	}
	if summary != nil { // a nil pointer in an interface would not be nil
		e.Summary = summary
	}
	if req.Advise != nil {
		e.Hints = req.Advise(out)
	}
	req.Console.Done(e)
}

func outcomeAttrs(out supervisor.Outcome) map[string]string {
	attrs := map[string]string{"code": fmt.Sprint(out.Code), "source": string(out.Source), "reason": out.Reason}
	if out.RunID != "" {
		attrs["runId"] = out.RunID
	}
	return attrs
}

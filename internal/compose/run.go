package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cellos.io/cellos/backend/stub"
	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/supervisor"
)

// Request is one document to run, and where its words go.
type Request struct {
	Path       string // of the document; "-" is standard input
	ResultPath string // overrides CELLOS_RESULT_PATH
	Environ    []string
	Console    *console.Console
	// Input is where a document "-" is read from. Workload, if not nil, is
	// what the workload reads.
	Input, Workload io.Reader
	Stdout, Stderr  io.Writer
	Interrupts      <-chan os.Signal
}

// Run runs one document under the operator's settings, says how it ended and
// returns the exit code. The calling thread must be locked for the life of the
// process: see supervisor.Backend.
func Run(ctx context.Context, req Request) int {
	settings, err := ReadSettings(req.Environ)
	if req.ResultPath == "" && settings != nil {
		req.ResultPath = settings.ResultPath
	}
	out := func() supervisor.Outcome {
		if err != nil {
			return settingsOutcome(err)
		}
		return run(ctx, settings, req)
	}()
	if err := writeResult(req.ResultPath, out); err != nil {
		req.Console.Error(err.Error())
		if out.Succeeded() {
			out = internalError(err)
		}
	}
	say(req.Console, out)
	return out.Code
}

func run(ctx context.Context, settings *Settings, req Request) supervisor.Outcome {
	for _, w := range settings.Warnings {
		req.Console.Warn(w)
	}
	name, src, err := ReadDocument(req.Path, req.Input)
	if err != nil {
		return supervisor.Outcome{Code: supervisor.ExitInvalidSpec, Source: supervisor.FromSupervisor, Reason: "invalid_spec", Detail: err.Error()}
	}
	doc, parseErr := cell.Parse(name, src)
	var faults cell.Errors
	errors.As(parseErr, &faults)
	for _, fault := range faults {
		req.Console.Finding(fault.Error())
	}
	if settings.ValidateOnly {
		return explain(settings, doc, parseErr, req.Stdout)
	}
	id, identified := cell.ID(parseErr)
	if parseErr != nil && !identified {
		return invalid()
	}
	sup, closeJournal, err := Build(settings, req)
	if err != nil {
		return internalError(err)
	}
	defer closeJournal()
	if parseErr != nil {
		return sup.Reject(ctx, id, faults)
	}
	collected, err := sup.Collect(ctx)
	for _, r := range collected {
		req.Console.Step("gc", r.String())
	}
	if err != nil {
		// What an earlier run left does not keep this one from running.
		req.Console.Warn(fmt.Sprintf("cleaning up after earlier runs: %v", err))
	}
	return sup.Run(ctx, doc)
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

// HostFacts are what a plan depends on besides the document.
func HostFacts(s *Settings) plan.Host {
	ns := s.Unshare
	// Ending a cell is ending its PID 1, so the stub always has a pid
	// namespace; without root it takes a user namespace to make one.
	ns.PID = true
	ns.User = ns.User || os.Geteuid() != 0
	return plan.Host{
		Profile: s.Profile, Backend: s.Backend, TestDouble: true,
		Isolation: stub.New(stub.Options{}).Isolation(ns), Namespaces: ns,
		DNSProxy: s.DNSProxy, UpstreamOverride: s.UpstreamOverride, Nameservers: Nameservers(),
		RunTimeoutMax: s.RunTimeoutMax,
	}
}

// explain prints what would be enforced. Nothing is run and nothing created.
func explain(s *Settings, doc *cell.Document, parseErr error, w io.Writer) supervisor.Outcome {
	if parseErr != nil {
		return invalid()
	}
	p, refusals := plan.Compile(doc, HostFacts(s))
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(struct {
		*plan.Plan
		Refusals []plan.Finding `json:"refusals"`
	}{p, refusals}); err != nil {
		return internalError(err)
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

// say prints the one line that ends a run: which code, why, what to do.
func say(c *console.Console, out supervisor.Outcome) {
	text := out.Detail
	if text == "" {
		text = out.Reason
	}
	if out.Succeeded() {
		c.Done("done: "+text, true, outcomeAttrs(out), nil)
		return
	}
	c.Done(fmt.Sprintf("%s (exit %d)", text, out.Code), false, outcomeAttrs(out), nil)
}

func outcomeAttrs(out supervisor.Outcome) map[string]string {
	attrs := map[string]string{"code": fmt.Sprint(out.Code), "source": string(out.Source), "reason": out.Reason}
	if out.RunID != "" {
		attrs["runId"] = out.RunID
	}
	return attrs
}

package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/plan"
)

// The exit codes of a run (SPEC §4.2). A workload that ran to its end passes
// on its own code instead.
const (
	ExitIncomplete  = 119 // the workload ran, but evidence or teardown is incomplete
	ExitInvalidSpec = 120
	ExitDenied      = 121 // by policy
	ExitCannot      = 122 // what the document asks cannot be enforced
	ExitSecret      = 123 // secret or identity failure
	ExitTimeout     = 124 // timeout or lifetime
	ExitInternal    = 125 // internal error, or a sink that is unusable at the start
	ExitNotRunnable = 126 // as a shell has it
	ExitNotFound    = 127
	exitSignalBase  = 128
)

// Source says whose exit code an Outcome carries.
type Source string

// The sources of an exit code.
const (
	FromWorkload   Source = "workload"
	FromSupervisor Source = "supervisor"
)

// Outcome is how a run ended. It is written to the result file, which is
// authoritative where exit codes collide.
type Outcome struct {
	Code   int    `json:"code"`
	Source Source `json:"source"`
	// Reason is a short constant, such as "exited" or "ttl_expired".
	Reason string `json:"reason"`
	RunID  string `json:"runId,omitempty"`
	// Detail is for the person who reads it: what happened and what to do.
	Detail string `json:"detail,omitempty"`
}

// Succeeded is whether the workload ended well and everything after it too.
func (o Outcome) Succeeded() bool { return o.Code == 0 }

// The reasons of outcomes.
const (
	reasonExited       = "exited"
	reasonSignaled     = "signaled"
	reasonTimeout      = "timeout"
	reasonTTL          = "ttl_expired"
	reasonInterrupted  = "interrupted"
	reasonInitKilled   = "init_killed"
	reasonInvalidSpec  = "invalid_spec"
	reasonDenied       = "denied_by_policy"
	reasonCannot       = "cannot_enforce"
	reasonSecret       = "secret_failure"
	reasonNotRunnable  = "not_runnable"
	reasonNotFound     = "not_found"
	reasonInternal     = "internal_error"
	reasonNoEvidence   = "evidence_failed"
	reasonEventsBudget = "events_budget_exceeded"
	reasonTeardown     = "teardown_incomplete"
	reasonNothingToRun = "nothing_to_run"

	// Of runs that a clean-up finished.
	reasonSupervisorLost = "supervisor_lost"
	reasonHostRestarted  = "host_restarted"
)

// refusal is an error with the outcome that it stands for.
type refusal struct {
	code   int
	reason string
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(code int, reason string, err error) error {
	return &refusal{code: code, reason: reason, err: err}
}

// failed is the outcome of a step that ended the run.
func failed(step string, err error) Outcome {
	o := Outcome{Code: ExitInternal, Source: FromSupervisor, Reason: reasonInternal, Detail: fmt.Sprintf("%s: %v", step, err)}
	var r *refusal
	if errors.As(err, &r) {
		o.Code, o.Reason, o.Detail = r.code, r.reason, err.Error()
	}
	return o
}

// notRun says which program could not be started, and what to do about it.
func notRun(p *plan.Process, err error) error {
	var spawn *backend.SpawnError
	if !errors.As(err, &spawn) {
		return err
	}
	program, remedy := p.Argv[0], ""
	switch {
	case spawn.Stage == cellinit.StageWorkdir.String():
		return refuse(ExitCannot, reasonCannot, fmt.Errorf("%w: spec.run.workingDirectory %q must be a directory in the cell", err, p.Dir))
	case spawn.Errno == syscall.ENOENT && strings.Contains(program, "/"):
		remedy = "spec.run.argv[0] must be a program in the cell, and so must the interpreter that its first line names"
	case spawn.Errno == syscall.ENOENT:
		remedy = "spec.run.argv[0] without a slash is looked for in /usr/local/bin:/usr/bin:/bin of the cell; write the whole path of another place"
	case spawn.Errno == syscall.EACCES:
		remedy = "it must be a file that the user of the cell may execute"
	case spawn.Errno == syscall.ENOEXEC:
		remedy = "it is neither a binary of this machine nor a script with #! in its first line"
	}
	code, reason := spawnCode(spawn.Errno)
	err = fmt.Errorf("%q: %w", program, err)
	if remedy != "" {
		err = fmt.Errorf("%w; %s", err, remedy)
	}
	return refuse(code, reason, err)
}

// spawnCode is what a shell's exit code would be for a program that cannot be
// started (POSIX XCU 2.8.2).
func spawnCode(errno syscall.Errno) (int, string) {
	if errno == syscall.ENOENT {
		return ExitNotFound, reasonNotFound
	}
	return ExitNotRunnable, reasonNotRunnable
}

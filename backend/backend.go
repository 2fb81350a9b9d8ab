// Package backend holds the values that every backend returns. The interface
// that backends implement is declared by its consumer, package supervisor;
// package backendtest is the conformance suite that all of them pass.
package backend

import (
	"errors"
	"fmt"
	"syscall"
)

// Exit is how a cell ended. It describes a cell that is gone: no process of
// it is left.
type Exit struct {
	// Code is the exit status of the workload, if Signal is zero.
	Code int
	// Signal ended the workload. It is SIGKILL when the workload was still
	// running when its cell ended.
	Signal syscall.Signal
	// Reason is why the cell ended before its workload did.
	Reason Reason
	// CPUMicros is the user and system time of everything that ran in the
	// cell.
	CPUMicros int64
	// MaxRSS is the largest resident set of one process, in bytes. What is
	// smaller than PID 1 at the time of its fork counts as that.
	MaxRSS int64
}

// A File is a secret that is delivered as a file.
type File struct {
	Name    string
	Content []byte
}

// Reason is why a cell ended before its workload did.
type Reason string

// The reasons for which a cell ends.
const (
	// Ended is the normal case: the workload ended, or the supervisor
	// killed the cell and knows why.
	Ended Reason = ""
	// Expired is the deadline, kept by PID 1.
	Expired Reason = "ttl"
	// InitKilled is the death of PID 1 by anything but the supervisor.
	InitKilled Reason = "init_killed"
)

// A Resource is something on the host that a cell has and that does not go
// with its PID 1. Whoever boots the cell writes it down before, and removes it
// after.
type Resource struct {
	Kind ResourceKind
	Key  string
}

// ResourceKind is a kind of resource.
type ResourceKind string

// Cgroup is a directory of a control group.
const Cgroup ResourceKind = "cgroup"

// ErrGone is the error of whatever was asked of a cell whose PID 1 has ended.
// Why it has is in the Exit.
var ErrGone = errors.New("PID 1 of the cell is gone")

// SpawnError is a workload that could not be started.
type SpawnError struct {
	// Stage is what PID 1 was doing: "limits", "deadline", "working
	// directory", "lookup", "privileges" or "exec".
	Stage string
	// Errno is ENOENT at stage "lookup" for a program that is not there,
	// EACCES there or at stage "exec" for one that may not be executed.
	Errno syscall.Errno
}

func (e *SpawnError) Error() string {
	return fmt.Sprintf("start workload: %s: %v", e.Stage, e.Errno)
}

func (e *SpawnError) Unwrap() error { return e.Errno }

// SetupError is a cell that could not be set up. Nothing of it is left.
type SetupError struct {
	// Step names what was to be done.
	Step  string
	Errno syscall.Errno
}

func (e *SetupError) Error() string {
	return fmt.Sprintf("set up cell: %s: %v", e.Step, e.Errno)
}

func (e *SetupError) Unwrap() error { return e.Errno }

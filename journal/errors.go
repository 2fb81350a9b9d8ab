package journal

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrFull means that there is no room for an ordinary record. The closing
	// records still fit; call Run.Closing.
	ErrFull = errors.New("no space for the journal")
	// ErrBudget means that the run has used up its eventsMaxBytes.
	ErrBudget = errors.New("event budget used up")
	// ErrNoReserve means that there is no room for the records that close a
	// run, so it was not opened and left nothing behind.
	ErrNoReserve = errors.New("no space to reserve for the journal")
	// ErrMirror means that the journal has the record and a mirror has not.
	// The Ref returned with it is valid.
	ErrMirror = errors.New("event mirror failed")
	// ErrLocked means that another process writes this file.
	ErrLocked = errors.New("locked by another process")
	// ErrEnded means that the chain has its evidence bundle, or is closed.
	ErrEnded = errors.New("the chain has ended")
	// ErrFinished means that an orphan needed nothing more than what ResumeRun
	// has done: it had never been opened, or was sealed already.
	ErrFinished = errors.New("nothing left to finish")
	// ErrExists means that the run id was used before.
	ErrExists = errors.New("run exists")
)

// A CorruptError is a journal that was damaged elsewhere than at its end, which
// a crash does not do. Nothing is appended to it.
type CorruptError struct {
	File string
	Line int
	Err  error
}

func (e *CorruptError) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	return fmt.Sprintf("%s: damaged, and not by a crash: %v (see cellos audit verify; move the file away to go on without it)", place, e.Err)
}

// Unwrap returns what is wrong with the line.
func (e *CorruptError) Unwrap() error { return e.Err }

// noSpace reports whether err is one of the ways to say that the disk, the
// quota or the limit of this process is used up.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

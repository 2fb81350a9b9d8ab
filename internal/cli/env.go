package cli

import (
	"fmt"
	"io"

	"cellos.io/cellos/internal/compose"
)

// Env is what a command may use of the process it runs in.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// Environ is the whole environment, as os.Environ has it.
	Environ func() []string
}

// An ExitError ends the program with Code. Without Err everything has been
// said already.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns what there is to say.
func (e *ExitError) Unwrap() error { return e.Err }

// exitCode is the error of a command that has said everything.
func exitCode(code int) error {
	if code == 0 {
		return nil
	}
	return &ExitError{Code: code}
}

// exitUnusable is for what could not even be read. It is none of the codes
// that say something about what was read.
const exitUnusable = 125

func unusable(err error) error { return &ExitError{Code: exitUnusable, Err: err} }

// stateDir is where the journal and the keys are. It need not exist.
func (e *Env) stateDir() string { return compose.StateDir(e.Getenv) }

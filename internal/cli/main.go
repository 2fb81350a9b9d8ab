package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"cellos.io/cellos/internal/console"
)

// Main runs the command line and returns the exit code of the program.
func Main(env *Env, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := New(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		// Cobra's own: an unknown command or flag.
		exit = &ExitError{Code: exitUnusable, Err: err}
		defer fmt.Fprintln(env.Stderr, "cellos: hint: see cellos --help")
	}
	if exit.Err != nil {
		fmt.Fprintf(env.Stderr, "cellos: %s\n", console.Escape(exit.Err.Error()))
	}
	return exit.Code
}

// Command cellos is the command line of CellOS.
package main

import (
	"os"
	"runtime"

	"cellos.io/cellos/internal/cli"
)

func init() {
	// A cell dies with the thread that made it, so that thread is the main
	// thread, which lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	os.Exit(cli.Main(&cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Environ: os.Environ,
	}, os.Args[1:]))
}

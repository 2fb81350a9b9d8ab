// Command cellos-supervisor runs one ExecutionCell document under settings
// that it takes from the environment. It has the interface of the original
// supervisor; cellos run is the same engine for people.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/internal/version"
	"cellos.io/cellos/supervisor"
)

const usage = `Run one execution cell: what its document declares, and nothing else.

Usage:
  cellos-supervisor [flags] SPEC      SPEC is a JSON or YAML file, or - for standard input

Flags:
  --result FILE   write {code, source, reason, runId} there; authoritative where exit codes collide
  -i              let the workload read our standard input (it reads /dev/null otherwise)
  -o json         one JSON object per line on standard error
  -q              only warnings and failures on standard error
  --version       print the version
  --help          print this

Example, a cell without any authority:
  echo '{"apiVersion": "cellos.io/v1", "kind": "ExecutionCell",
         "spec": {"id": "first", "lifetime": {"ttlSeconds": 60}, "run": {"argv": ["id"]}}}' | cellos-supervisor -

Settings are environment variables:
  CELLOS_DEPLOYMENT_PROFILE   hardened (default) or portable
  CELLOS_CELL_BACKEND         native (default), or stub, a test double (only with portable)
  CELLOS_SUBPROCESS_UNSHARE   namespaces of the stub backend: net,mnt,pid,ipc,uts,user
  CELLOS_BROKER               where secrets come from: env (default) or file
  CELLOS_SECRET_<NAME>        the value of a declared secret, for broker env
  CELLOS_SECRET_FILE_<NAME>   the file that holds it, for broker file
  CELLOS_JSONL_SINK_PATH      append the signed events here as well
  CELLOS_VALIDATE_ONLY=1      print what would be enforced, run nothing
  CELLOS_STATE_DIR            journal and keys (/var/lib/cellos, or below XDG_STATE_HOME)
  CELLOS_RUNTIME_DIR          live cells (/run/cellos, or below XDG_RUNTIME_DIR)

Exit codes:
  the workload's own; 119 evidence or teardown incomplete; 120 invalid document;
  121 denied by policy; 122 cannot be enforced here; 123 secret failure; 124 timeout
  or lifetime over; 125 internal error; 126, 127 not runnable, not found; 128+n signal n
`

func init() {
	// A cell dies with the thread that made it, so that thread is the main
	// thread, which lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	// The environment and the keys of this process are nobody's business.
	// That also keeps them out of core dumps.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "cellos-supervisor: cannot become non-dumpable:", err)
		return supervisor.ExitInternal
	}
	// A reader that goes away is the workload's affair, not our death.
	signal.Ignore(syscall.SIGPIPE)

	flags := flag.NewFlagSet("cellos-supervisor", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	result := flags.String("result", "", "")
	interactive := flags.Bool("i", false, "")
	output := flags.String("o", "", "")
	quiet := flags.Bool("q", false, "")
	showVersion := flags.Bool("version", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return 0
	case err != nil:
		return misuse(err.Error())
	case *showVersion:
		fmt.Println(version.String())
		return 0
	case flags.NArg() != 1:
		return misuse("name one document, or - for standard input")
	case *output != "" && *output != "json":
		return misuse(fmt.Sprintf("-o %s: the only format is json", *output))
	case *interactive && flags.Arg(0) == "-":
		return misuse("-i and a document on standard input exclude each other")
	}

	opts := console.Options{Program: "cellos-supervisor", Quiet: *quiet, Color: console.WantsColor(os.Stderr, os.Getenv)}
	if *output == "json" {
		opts.Format = console.JSON
	}
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	req := compose.Request{
		Path: flags.Arg(0), ResultPath: *result, Environ: os.Environ(),
		Console: console.New(os.Stderr, opts),
		Input:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Interrupts: interrupts,
	}
	if *interactive {
		req.Workload = os.Stdin
	}
	return compose.Run(context.Background(), req)
}

func misuse(why string) int {
	fmt.Fprintf(os.Stderr, "cellos-supervisor: %s\ncellos-supervisor: hint: see cellos-supervisor --help\n", why)
	return supervisor.ExitInternal
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/supervisor"
)

type runOptions struct {
	env *Env

	program     program // of a cell that flags describe
	printSpec   bool
	interactive bool
	result      string
	output      string
	quiet       bool
}

func newRunCmd(env *Env) *cobra.Command {
	o := &runOptions{env: env}
	cmd := &cobra.Command{
		Use:   "run {FILE | -- PROGRAM [ARG…]}",
		Short: "Run a program with what is declared, and nothing else",
		Long: `Runs a cell: that of a document, or that of a program and flags. Without flags a
program may resolve no name, connect to nothing, read no file but those of the
system, and has no secret. When it is refused something, a line says which flag
would have allowed it.

A program without a document is looked up by your PATH. It starts in your
working directory if --mount makes that visible, and otherwise in an empty one;
its home is /home/cell. FILE may be - for standard input.

Settings are the environment variables of cellos-supervisor.

Exit codes:
  the program's own; 119 evidence or teardown incomplete; 120 invalid document
  or flags; 121 denied by policy; 122 cannot be enforced here; 123 secret
  failure; 124 timeout or lifetime over; 125 internal error; 126, 127 not
  runnable, not found; 128+n signal n. --result says whose code it is.`,
		Example: `  cellos run cell.yaml
  cellos run -- sh -c 'ls / && env'
  cellos run --mount . -- make -n                 see this directory, change nothing
  cellos run --mount .:rw --allow registry.npmjs.org:443 -- npm ci
  cellos run --tool node --mount . -- node test.js     where node is in a directory of its own
  CELLOS_SECRET_NPM_TOKEN=… cellos run --mount . --secret npm-token -- ./publish.sh
  cellos run -i --ttl 5m --memory 512M -- python3 - < script.py
  cellos run --allow 192.0.2.7:5432 --print-spec -- psql > cell.yaml
  cellos run -o json -- true 2> run.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	p := &o.program
	f.StringArrayVar(&p.allow, "allow", nil, "connect to `HOST:PORT[/PROTOCOL]`: a name, *.name, address or CIDR; tcp unless said")
	f.StringArrayVar(&p.secrets, "secret", nil, "deliver the secret `NAME`, as a variable of this name")
	f.StringArrayVar(&p.mounts, "mount", nil, "make the file or directory `PATH[:rw]` visible where it is, read-only unless :rw")
	f.StringArrayVar(&p.tools, "tool", nil, "make the program `NAME` of your PATH usable, with the directory it is installed in")
	f.StringArrayVar(&p.vars, "env", nil, "set the variable `NAME=VALUE`, which is no secret")
	f.StringVar(&p.ttl, "ttl", defaultTTL, "end after this `TIME` at the latest, such as 90s, 10m, 2h")
	f.StringVar(&p.memory, "memory", "", "use no more memory than `SIZE`, such as 512M, 2G")
	f.StringVar(&p.name, "name", "", "call the cell `ID` in its trail (default run-PROGRAM)")
	p.flags = []string{"allow", "secret", "mount", "tool", "env", "ttl", "memory", "name", "print-spec"}
	f.BoolVar(&o.printSpec, "print-spec", false, "print the document that the flags stand for, and run nothing")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "let the program read standard input (it reads /dev/null otherwise)")
	f.StringVar(&o.result, "result", "", "write {code, source, reason, runId} to `FILE`; authoritative where exit codes collide")
	f.StringVarP(&o.output, "output", "o", "text", "`FORMAT`: text, or json with one object per line on standard error")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "only denials, warnings and failures")
	f.SortFlags = false
	return cmd
}

// misused is a command line that is wrong in itself.
func misused(format string, args ...any) error {
	return unusable(fmt.Errorf(format+"; see cellos run --help", args...))
}

func (o *runOptions) run(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	byFlags := dash >= 0
	switch {
	case o.output != "text" && o.output != "json":
		return misused("-o %s: must be text or json", o.output)
	case byFlags && dash > 0:
		return misused("%q stands in front of --: name a document or, behind --, a program", args[0])
	case len(args) == 0:
		return misused("name a document or, behind --, a program")
	case !byFlags && len(args) > 1:
		return misused("%q follows the document: to run a program, write cellos run -- %s %s", args[1], args[0], args[1])
	case !byFlags && o.interactive && args[0] == "-":
		return misused("-i and a document on standard input exclude each other")
	}
	if !byFlags {
		for _, name := range o.program.flags {
			if cmd.Flags().Changed(name) {
				return misused("--%s describes a cell without a document; change the document instead", name)
			}
		}
	}
	req := o.request(byFlags)
	if !byFlags {
		req.Path = args[0]
		return exitCode(o.supervise(req))
	}
	o.program.argv = args
	return o.runProgram(req)
}

// request is what both forms share.
func (o *runOptions) request(byFlags bool) compose.Request {
	opts := console.Options{Program: "cellos", Quiet: o.quiet, Flags: byFlags}
	if o.output == "json" {
		opts.Format = console.JSON
	}
	if f, ok := o.env.Stderr.(*os.File); ok {
		opts.Color = console.WantsColor(f, o.env.Getenv)
	}
	req := compose.Request{
		ResultPath: o.result, Environ: o.env.Environ(), Interactive: true,
		Console: console.New(o.env.Stderr, opts),
		Input:   o.env.Stdin, Stdout: o.env.Stdout, Stderr: o.env.Stderr,
	}
	if o.interactive {
		req.Workload = o.env.Stdin
	}
	return req
}

// runProgram runs, or prints, the document that the flags stand for.
func (o *runOptions) runProgram(req compose.Request) error {
	who, err := callerOf(o.env)
	if err != nil {
		return unusable(err)
	}
	draft, err := o.program.draft(who)
	if err != nil {
		return exitCode(refuseDraft(req, err))
	}
	if o.printSpec {
		_, err := o.env.Stdout.Write(draft.text)
		return err
	}
	req.Path, req.Document = draftName, draft.text
	hints := newAdviser(draft, req.Stderr)
	req.Stderr, req.Advise = hints, hints.advise
	return exitCode(o.supervise(req))
}

// refuseDraft says what is wrong with flags, or that there is no such program.
func refuseDraft(req compose.Request, err error) int {
	out := supervisor.Outcome{Code: supervisor.ExitInvalidSpec, Source: supervisor.FromSupervisor,
		Reason: "invalid_spec", Detail: "the flags describe no cell, nothing was run"}
	if missing, ok := err.(*missingError); ok { // and not one among other errors
		out.Code, out.Reason, out.Detail = supervisor.ExitNotFound, "not_found", missing.Error()
		return compose.Refuse(req, out)
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		req.Console.Error(err.Error())
		return compose.Refuse(req, out)
	}
	for _, e := range joined.Unwrap() {
		req.Console.Error(e.Error())
	}
	return compose.Refuse(req, out)
}

// supervise runs a cell on this thread, which the cell dies with.
func (o *runOptions) supervise(req compose.Request) int {
	// The environment and the keys of this process are nobody's business.
	// That also keeps them out of core dumps.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return compose.Refuse(req, supervisor.Outcome{Code: supervisor.ExitInternal, Source: supervisor.FromSupervisor,
			Reason: "internal_error", Detail: fmt.Sprintf("cannot become non-dumpable: %v", err)})
	}
	// A reader that goes away is the program's affair, not our death.
	signal.Ignore(syscall.SIGPIPE)
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(interrupts)
	req.Interrupts = interrupts
	// An interrupt ends the run in its own way, not the context.
	return compose.Run(context.Background(), req)
}

// draftName is the document that flags stand for, in messages.
const draftName = "<flags>"

// flagErrors are the errors of a document that flags stand for, with the flags
// to correct.
func flagErrors(errs cell.Errors, from origin) error {
	var list []error
	for _, e := range errs {
		what := e.Rule
		if e.Value != "" {
			what = e.Value + ": " + what
		}
		if flag := from.flagOf(e.Path); flag != "" {
			what = flag + ": " + what
		} else if e.Path != "" {
			what = e.Path + ": " + what
		}
		list = append(list, errors.New(what))
	}
	return errors.Join(list...)
}

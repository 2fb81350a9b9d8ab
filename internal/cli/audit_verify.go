package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
)

// The exit codes of audit verify.
const (
	exitTampered   = 1
	exitUnfinished = 2
)

type verifyOptions struct {
	env           *Env
	files         []string
	keys          []string
	hmacKeys      []string
	hostChain     string
	head          string
	allowUnsigned bool
	output        string

	selfAttested bool
}

func newAuditVerifyCmd(env *Env) *cobra.Command {
	o := &verifyOptions{env: env}
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Check signatures, chains and completeness",
		Long: `Checks every record of the files: its signature, and that the chain of its run
has no record changed, dropped, moved, repeated or added. With the chain of the
host it also checks that no run is missing and that each one ends where it was
sealed. Without FILE it checks the whole trail of this host. FILE may be - for
standard input. A file may hold many runs, in any order.

Without --keys the public keys of this host are used. That is self-attested:
whoever could change the trail could have changed these keys, so keep a copy of
"cellos keys public" elsewhere.

Exit codes:
  0    complete
  1    tampered with; the first bad line and why are printed
  2    valid, but a run is unfinished: it is running, or waits for cellos gc
  125  something could not be read`,
		Example: `  cellos audit verify
  cellos audit verify events.jsonl --keys keys.json
  cellos audit verify events.jsonl --keys keys.json --host-chain host.jsonl \
      --head 41:7be0…`,
		RunE: func(_ *cobra.Command, args []string) error {
			o.files = args
			return o.run()
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.keys, "keys", nil, "keys file with the public keys to trust")
	flags.StringArrayVar(&o.hmacKeys, "hmac-keys", nil, "keys file with HMAC keys; it is secret")
	flags.StringVar(&o.hostChain, "host-chain", "", "chain of the host that the files are from")
	flags.StringVar(&o.head, "head", "", "SEQ:DIGEST that the chain of the host must contain")
	flags.BoolVar(&o.allowUnsigned, "allow-unsigned", false, "accept unsigned records; they prove nothing")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

func (o *verifyOptions) run() error {
	if o.output != "text" && o.output != "json" {
		return unusable(fmt.Errorf("-o %s: must be text or json", o.output))
	}
	v := &event.Verifier{AllowUnsigned: o.allowUnsigned}
	if o.head != "" {
		head, err := event.ParseHead(o.head)
		if err != nil {
			return unusable(fmt.Errorf("--head: %w", err))
		}
		v.Head = &head
	}
	var err error
	if v.Keys, err = o.loadKeys(); err != nil {
		return unusable(err)
	}
	if err := o.read(v); err != nil {
		return unusable(err)
	}
	report := v.Report()
	if o.output == "json" {
		return o.json(report)
	}
	return o.text(report)
}

// loadKeys reads the keys to trust.
func (o *verifyOptions) loadKeys() (*event.Keys, error) {
	keys := new(event.Keys)
	load := func(files []string, parse func([]byte) (*event.Keys, error)) error {
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			more, err := parse(src)
			if err == nil {
				err = keys.Merge(more)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	}
	if err := load(o.keys, event.ParseKeys); err != nil {
		return nil, err
	}
	if len(o.keys) == 0 {
		own, err := journal.PublicKeys(o.env.stateDir())
		if err != nil {
			return nil, err
		}
		o.selfAttested = len(own.KIDs()) > 0
		keys = own
	}
	if err := load(o.hmacKeys, event.ParseHMACKeys); err != nil {
		return nil, err
	}
	if len(keys.KIDs()) == 0 && !o.allowUnsigned {
		return nil, fmt.Errorf("there are no keys in %s: name a keys file with --keys", journal.KeysDir(o.env.stateDir()))
	}
	return keys, nil
}

// read hands the files to the verifier, the host chain first.
func (o *verifyOptions) read(v *event.Verifier) error {
	if len(o.files) == 0 {
		if err := o.wholeHost(v); err != nil {
			return err
		}
	}
	if o.hostChain != "" {
		if err := o.open(o.hostChain, v.HostChain); err != nil {
			return err
		}
	}
	for _, path := range o.files {
		if err := o.open(path, v.Runs); err != nil {
			return err
		}
	}
	return nil
}

// wholeHost makes the files those of this host.
func (o *verifyOptions) wholeHost(v *event.Verifier) error {
	state := o.env.stateDir()
	paths, err := journal.RunPaths(state)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no trail in %s (CELLOS_STATE_DIR names another directory)", state)
	}
	if err != nil {
		return err
	}
	for _, path := range paths {
		v.Present(strings.TrimSuffix(filepath.Base(path), ".jsonl"))
	}
	o.files = paths
	if o.hostChain != "" {
		return nil
	}
	path := journal.HostPath(state)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		// As an empty one: then no run was opened, which is what a chain
		// that was removed has to look like.
		return v.HostChain(path, strings.NewReader(""))
	}
	o.hostChain = path
	return nil
}

func (o *verifyOptions) open(path string, read func(string, io.Reader) error) error {
	if path == "-" {
		return read("standard input", o.env.Stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return read(path, f)
}

// outcome is the exit code and its one-line reason.
func (o *verifyOptions) outcome(r *event.Report) (int, string) {
	switch {
	case !r.Valid():
		return exitTampered, "the trail was tampered with"
	case r.Records == 0 && o.hostChain == "":
		return exitUnfinished, "there is no record to verify"
	case len(r.Unfinished) > 0:
		return exitUnfinished, fmt.Sprintf("valid, but %s unfinished: running, or waiting for cellos gc", count(len(r.Unfinished), "run is", "runs are"))
	}
	return 0, "complete"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (o *verifyOptions) json(r *event.Report) error {
	code, result := o.outcome(r)
	enc := json.NewEncoder(o.env.Stdout)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Code         int    `json:"code"`
		Result       string `json:"result"`
		SelfAttested bool   `json:"selfAttested"`
		*event.Report
	}{code, result, o.selfAttested, r})
	if err != nil {
		return err
	}
	return exitCode(code)
}

func (o *verifyOptions) text(r *event.Report) error {
	out := o.env.Stdout
	code, result := o.outcome(r)
	unsigned, recovered := 0, 0
	for _, run := range r.Runs {
		recovered += run.Recovered
		if run.Unsigned {
			unsigned++
		}
	}
	fmt.Fprintf(out, "%s of %s\n", count(int(r.Records), "record", "records"), count(len(r.Runs), "run", "runs"))
	if r.Host != nil {
		fmt.Fprintf(out, "host chain %s, head %d:%s\n", console.Escape(r.Host.Chain), r.Host.LastSeq, r.Host.Head)
		recovered += r.Host.Recovered
	}
	if recovered > 0 {
		fmt.Fprintf(out, "taken up after a crash: %s\n", count(recovered, "time", "times"))
	}
	if o.selfAttested {
		fmt.Fprintln(out, "self-attested: checked with this host's own keys; --keys names keys that you trust")
	}
	if unsigned > 0 {
		fmt.Fprintf(out, "unsigned: %s; they prove nothing about who wrote them\n", count(unsigned, "run", "runs"))
	}
	if o.hostChain == "" && code != exitTampered {
		fmt.Fprintln(out, "without --host-chain a missing run would not show")
	}
	for _, id := range r.Unfinished {
		fmt.Fprintf(out, "unfinished: %s\n", console.Escape(id))
	}
	if code != exitTampered {
		fmt.Fprintln(out, result)
		return exitCode(code)
	}
	fmt.Fprintln(o.env.Stderr, console.Escape(r.Faults[0].Error()))
	if more := r.FaultCount - 1; more > 0 {
		result += fmt.Sprintf(" (%s: -o json lists them)", count(more, "more fault", "more faults"))
	}
	return &ExitError{Code: code, Err: errors.New(result)}
}

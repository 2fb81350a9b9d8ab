package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/internal/compose"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/probe"
	"cellos.io/cellos/probe/firewall"
)

type doctorOptions struct {
	env     *Env
	output  string
	timeout time.Duration
}

func newDoctorCmd(env *Env) *cobra.Command {
	o := &doctorOptions{env: env}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what this host can do for a cell, and what to change",
		Long: `Tries everything that a cell rests on, as the user who asks and with his
settings: namespaces, the firewall, the file view, limits. Each thing is really
done, in a process that is made for it, and nothing is left of it. What does not
work is shown with what to do about it; what could not be tried is unknown, and
counts as not enforced.

The second table is the isolation report of a cell that starts here now.

Exit codes: 0 cells under profile hardened can run here, 1 they cannot: the last
line says why.`,
		Example: `  cellos doctor
  sudo cellos doctor                       root's cells can be limited on more hosts
  cellos doctor -o json | jq .missing
  CELLOS_CELL_BACKEND=stub cellos doctor   what another backend would enforce`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "text", "`FORMAT`: text or json")
	f.DurationVar(&o.timeout, "timeout", probe.DefaultTimeout, "how long one thing may take, and all of them twice as long")
	return cmd
}

func (o *doctorOptions) run(ctx context.Context) error {
	if o.output != "text" && o.output != "json" {
		return unusable(fmt.Errorf("-o %s: must be text or json", o.output))
	}
	if o.timeout <= 0 {
		return unusable(fmt.Errorf("--timeout %v: must be more than nothing", o.timeout))
	}
	settings, settingsErr := compose.ReadSettings(o.env.Environ())
	abilities := append(probe.Abilities(o.probeOptions()), firewall.Ability())
	abilities = append(abilities, probe.OtherBackends()...)
	prober := probe.New(abilities...)
	prober.Timeout = o.timeout
	ctx, cancel := context.WithTimeout(ctx, 2*o.timeout)
	defer cancel()
	d := diagnose(compose.HostFacts(settings, smallest()), settingsErr, abilities, prober.Run(ctx))
	d.UID = os.Geteuid()
	if err := o.print(d); err != nil {
		return unusable(err)
	}
	if !d.Hardened {
		return exitCode(1)
	}
	return nil
}

func (o *doctorOptions) print(d diagnosis) error {
	if o.output == "json" {
		enc := json.NewEncoder(o.env.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	}
	return d.write(o.env.Stdout)
}

// probeOptions are the places that matter to this user.
func (o *doctorOptions) probeOptions() probe.Options {
	options := probe.Options{
		CgroupParent: o.env.Getenv("CELLOS_CGROUP_PARENT"),
		StateDir:     o.env.stateDir(),
		RuntimeDir:   compose.RuntimeDir(o.env.Getenv),
	}
	if dir, err := os.Getwd(); err == nil {
		options.Paths = append(options.Paths, dir)
	}
	return options
}

// A diagnosis is what doctor says. It is encoded as JSON.
type diagnosis struct {
	UID       int         `json:"uid"`
	Backend   string      `json:"backend"`
	Abilities []tried     `json:"abilities"`
	Isolation plan.Report `json:"isolation"`
	// Hardened is true if cells under profile hardened can run. If not,
	// Missing says why.
	Hardened bool           `json:"hardened"`
	Missing  []plan.Finding `json:"missing"`
}

// tried is the answer for one ability.
type tried struct {
	probe.Result
	Means    string   `json:"means"`
	Controls []string `json:"controls,omitempty"`
}

// diagnose judges a host by the answers of its abilities, with the compiler
// that would judge a document there.
func diagnose(host plan.Host, settingsErr error, abilities []probe.Ability, results []probe.Result) diagnosis {
	d := diagnosis{Backend: host.Backend, Missing: []plan.Finding{}}
	for i, a := range abilities {
		d.Abilities = append(d.Abilities, tried{results[i], a.Means, a.Controls})
	}
	if unbuilt := backendUnbuilt(settingsErr); unbuilt != nil {
		host.Isolation = plan.Report{}
		for _, control := range plan.Controls {
			host.Isolation[control] = plan.Control{State: plan.Unavailable, By: unbuilt.Error()}
		}
	}
	if settingsErr != nil {
		d.Missing = append(d.Missing, plan.Finding{Path: "settings", Reason: settingsErr.Error()})
	}
	for _, f := range d.Abilities {
		// Without these a supervisor does not start.
		if (f.Name == "state-dir" || f.Name == "runtime-dir") && f.Answer != probe.Works {
			d.Missing = append(d.Missing, plan.Finding{Path: f.Name, Reason: f.Detail, Remedy: f.Remedy})
		}
	}
	host.Profile = plan.Hardened
	p, refusals := compileConfirmed(host, abilities, results)
	d.Isolation = p.Isolation
	if backendUnbuilt(settingsErr) == nil {
		d.Missing = append(append(d.Missing, refusals...), causes(host, abilities, results)...)
	}
	d.Hardened = len(d.Missing) == 0
	return d
}

// compileConfirmed compiles the smallest cell for a host that can do what the
// results say.
func compileConfirmed(host plan.Host, abilities []probe.Ability, results []probe.Result) (*plan.Plan, []plan.Finding) {
	host.Isolation = probe.Confirm(host.Isolation, abilities, results)
	return plan.Compile(smallest(), host)
}

// causes are the abilities each of which would be enough for a refusal.
func causes(host plan.Host, abilities []probe.Ability, results []probe.Result) []plan.Finding {
	if _, refused := plan.Compile(smallest(), host); len(refused) > 0 {
		return nil // whatever the host can do
	}
	var list []plan.Finding
	for i, r := range results {
		if r.Answer == probe.Works || strings.HasPrefix(r.Detail, "needs ") {
			continue
		}
		if _, refused := compileConfirmed(host, abilities, results[i:i+1]); len(refused) > 0 {
			list = append(list, plan.Finding{Path: r.Name, Reason: r.Detail, Remedy: r.Remedy})
		}
	}
	return list
}

// backendUnbuilt returns the error of settings that name a backend which this
// build does not have, or nil.
func backendUnbuilt(err error) *compose.UnbuiltError {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	for _, e := range joined.Unwrap() {
		var unbuilt *compose.UnbuiltError
		if errors.As(e, &unbuilt) && unbuilt.Setting == "CELLOS_CELL_BACKEND" {
			return unbuilt
		}
	}
	return nil
}

// smallest is a cell that asks for nothing but to run.
func smallest() *cell.Document {
	return &cell.Document{APIVersion: "cellos.io/v1", Kind: "ExecutionCell", Spec: cell.Spec{
		ID: "doctor", Lifetime: cell.Lifetime{TTLSeconds: 1}, Run: &cell.Run{Argv: []string{"true"}},
	}}
}

package plan_test

import (
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

var update = flag.Bool("update", false, "write what Compile returns into testdata")

// stubHost is a host with the stub backend and a private network, under
// profile portable. A test changes what it is about.
func stubHost() plan.Host {
	return plan.Host{
		Profile: plan.Portable, Backend: "stub", TestDouble: true,
		Isolation: plan.Report{
			"network":    {State: plan.Enforced, By: "network namespace"},
			"egressL4":   {State: plan.Partial, By: "no relay"},
			"noNewPrivs": {State: plan.Enforced, By: "prctl"},
			"ttl":        {State: plan.Enforced, By: "timerfd"},
		},
		Namespaces:  plan.Namespaces{Net: true, PID: true},
		Nameservers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
	}
}

// Each case is a document and a host; the plan and the refusals are beside it.
func TestCompile(t *testing.T) {
	cases := map[string]func(*plan.Host){
		"minimal":           func(*plan.Host) {},
		"names":             func(*plan.Host) {},
		"loopback-resolver": func(*plan.Host) {},
		"bad-endpoint":      func(*plan.Host) {},
		"bad-endpoint-hardened": func(h *plan.Host) {
			h.Profile = plan.Hardened
		},
		"override": func(h *plan.Host) {
			h.UpstreamOverride = netip.MustParseAddrPort("127.0.0.1:53054")
		},
		"override-hardened": func(h *plan.Host) {
			h.Profile = plan.Hardened
			h.UpstreamOverride = netip.MustParseAddrPort("127.0.0.1:53054")
		},
		"no-private-network": func(h *plan.Host) { h.Namespaces.Net = false },
		"proxy-off":          func(h *plan.Host) { h.DNSProxy = plan.Off },
		"no-nameservers":     func(h *plan.Host) { h.Nameservers = nil },
		"timeouts":           func(h *plan.Host) { h.RunTimeoutMax = 5 * time.Second },
		"workspace":          func(h *plan.Host) { h.Namespaces.Mnt = true },
		"workspace-refused":  func(*plan.Host) {},
		"unbuilt":            func(*plan.Host) {},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			host := stubHost()
			change(&host)
			p, refusals := plan.Compile(parse(t, name), host)
			got, err := json.MarshalIndent(struct {
				Plan     *plan.Plan     `json:"plan"`
				Refusals []plan.Finding `json:"refusals"`
			}{p, refusals}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "compile", name+".json"), append(got, '\n'))
		})
	}
}

// parse reads the document of a case; several cases share one, named by what
// comes before the first suffix that has no document of its own.
func parse(t *testing.T, name string) *cell.Document {
	t.Helper()
	for {
		path := filepath.Join("testdata", "compile", name+".yaml")
		src, err := os.ReadFile(path)
		if err == nil {
			doc, err := cell.Parse(path, src)
			if err != nil {
				t.Fatal(err)
			}
			return doc
		}
		i := strings.LastIndexByte(name, '-')
		if i < 0 {
			t.Fatalf("no document for %s", t.Name())
		}
		name = name[:i]
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("differs from %s (go test ./plan -update rewrites it):\n%s", path, got)
	}
}

// A test double is never enough for profile hardened, whatever it claims.
func TestHardenedRefusesATestDouble(t *testing.T) {
	host := stubHost()
	host.Profile = plan.Hardened
	for _, control := range plan.Controls {
		host.Isolation[control] = plan.Control{State: plan.Enforced, By: "says so"}
	}
	_, refusals := plan.Compile(parse(t, "minimal"), host)
	if len(refusals) != 1 || refusals[0].Path != "CELLOS_CELL_BACKEND" || refusals[0].Remedy == "" {
		t.Errorf("refusals %v", refusals)
	}
}

// Unknown is not enforced.
func TestHardenedRefusesWhatIsUnknown(t *testing.T) {
	host := stubHost()
	host.Profile, host.TestDouble = plan.Hardened, false
	for _, control := range plan.Controls {
		host.Isolation[control] = plan.Control{State: plan.Enforced, By: "test"}
	}
	if _, refusals := plan.Compile(parse(t, "minimal"), host); len(refusals) != 0 {
		t.Fatalf("everything is enforced, and yet %v", refusals)
	}
	host.Isolation["seccomp"] = plan.Control{State: plan.Unknown, By: "could not tell"}
	_, refusals := plan.Compile(parse(t, "minimal"), host)
	if len(refusals) != 1 || !strings.Contains(refusals[0].Reason, "seccomp") {
		t.Errorf("refusals %v, want one that names seccomp", refusals)
	}
}

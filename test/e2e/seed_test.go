package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The environment of the original's own end-to-end test, to the letter.
func seedEnv(jsonl string, more ...string) []string {
	return append([]string{
		"CELLOS_DEPLOYMENT_PROFILE=portable",
		"CELLOS_CELL_BACKEND=stub",
		"CELLOS_JSONL_SINK_PATH=" + jsonl,
		"CELL_OS_USE_NOOP_SINK=1",
		"CELLOS_SUBPROCESS_UNSHARE=net",
		"CELLOS_DNS_PROXY=1",
	}, more...)
}

const seedAllowAndDeny = `{
  "apiVersion": "cellos.io/v1",
  "kind": "ExecutionCell",
  "spec": {
    "id": "seam1-phase2b-e2e",
    "authority": {
      "secretRefs": [],
      "egressRules": [
        {"host": "127.0.0.1", "port": 53053, "protocol": "udp"},
        {"host": "127.0.0.1", "port": 53054, "protocol": "udp"}
      ],
      "dnsAuthority": {
        "hostnameAllowlist": ["api.example.com"],
        "blockDirectWorkloadDns": true,
        "resolvers": [
          {"resolverId": "resolver-test-001", "endpoint": "127.0.0.1:53053", "protocol": "do53-udp"}
        ]
      }
    },
    "lifetime": {"ttlSeconds": 60},
    "run": {"secretDelivery": "env", "argv": %s, "timeoutSeconds": 30}
  }
}`

const seedBadEndpoint = `{
  "apiVersion": "cellos.io/v1",
  "kind": "ExecutionCell",
  "spec": {
    "id": "seam1-phase2b-e2e-skip",
    "authority": {
      "secretRefs": [],
      "dnsAuthority": {
        "hostnameAllowlist": ["api.example.com"],
        "resolvers": [
          {"resolverId": "resolver-bad-001", "endpoint": "not-an-ip:53", "protocol": "do53-udp"}
        ]
      }
    },
    "lifetime": {"ttlSeconds": 60},
    "run": {"secretDelivery": "env", "argv": ["/usr/bin/true"], "timeoutSeconds": 10}
  }
}`

func TestSeedResolverAllowsAndDenies(t *testing.T) {
	need(t, "netns", "python3")
	for _, who := range users(t) {
		t.Run(who.name, func(t *testing.T) {
			dir := who.dir(t)
			workload := filepath.Join(dir, "workload.py")
			copyFile(t, "testdata/resolve.py", workload)
			argv, err := json.Marshal([]string{"/usr/bin/python3", workload})
			if err != nil {
				t.Fatal(err)
			}
			spec := writeFile(t, dir, "spec.json", fmt.Sprintf(seedAllowAndDeny, argv))
			jsonl := filepath.Join(dir, "events.jsonl")
			state := filepath.Join(dir, "state")

			got := who.supervisor(t, seedEnv(jsonl,
				"CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE=127.0.0.1:53054",
				"CELLOS_STATE_DIR="+state, "CELLOS_RUNTIME_DIR="+filepath.Join(dir, "run")), spec)
			if got.code != 0 {
				t.Fatalf("exit %d, want 0\n%s", got.code, got)
			}

			queries := byType(readTrail(t, jsonl), "observability.v1.dns_query")
			if len(queries) < 2 {
				t.Fatalf("%d dns_query events, want at least 2\n%s", len(queries), got)
			}
			allow := findQuery(t, queries, "api.example.com")
			wantData(t, allow, "decision", "allow", "reasonCode", "allowed_by_allowlist",
				"upstreamResolverId", "resolver-test-001", "responseRcode", 0.0)
			deny := findQuery(t, queries, "evil.example.com")
			wantData(t, deny, "decision", "deny", "reasonCode", "denied_not_in_allowlist", "responseRcode", 5.0)

			verifyIndependently(t, jsonl, state)
		})
	}
}

func TestSeedWithoutAResolver(t *testing.T) {
	need(t, "netns")
	for _, who := range users(t) {
		t.Run(who.name, func(t *testing.T) {
			dir := who.dir(t)
			spec := writeFile(t, dir, "spec.json", seedBadEndpoint)
			jsonl := filepath.Join(dir, "events.jsonl")
			// No directories are set and the default state directory cannot
			// be written: HOME is nobody's.
			env := seedEnv(jsonl, "HOME=/nonexistent", "TMPDIR="+dir)
			if who.root {
				env = append(env, "CELLOS_STATE_DIR="+filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR="+filepath.Join(dir, "run"))
			}
			got := who.supervisor(t, env, spec)
			if got.code != 0 {
				t.Fatalf("exit %d, want 0\n%s", got.code, got)
			}
			if queries := byType(readTrail(t, jsonl), "observability.v1.dns_query"); len(queries) != 0 {
				t.Errorf("a run without a resolver has dns_query events: %v", queries)
			}
			if !strings.Contains(got.stderr, "resolvers[0].endpoint") {
				t.Errorf("no warning names the endpoint\n%s", got)
			}
		})
	}
}

func TestSeedIsRefusedWhenHardened(t *testing.T) {
	dir := t.TempDir()
	spec := writeFile(t, dir, "spec.json", seedBadEndpoint)
	jsonl := filepath.Join(dir, "events.jsonl")
	env := append(seedEnv(jsonl, "CELLOS_STATE_DIR="+filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR="+filepath.Join(dir, "run")),
		"CELLOS_DEPLOYMENT_PROFILE=hardened")
	got := invoker.supervisor(t, env, spec)
	if got.code != 122 {
		t.Fatalf("exit %d, want 122\n%s", got.code, got)
	}
	if !strings.Contains(got.stderr, "resolvers[0].endpoint") {
		t.Errorf("the refusal does not name the endpoint\n%s", got)
	}
	events := readTrail(t, jsonl)
	wantData(t, byType(events, "admission.v1.decided")[0], "verdict", "denied")
	if started := byType(events, "lifecycle.v1.started"); len(started) != 0 {
		t.Error("a refused cell was started")
	}
}

func TestWorkloadHasItsOwnNetwork(t *testing.T) {
	need(t, "netns")
	dir := t.TempDir()
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Replace(seedBadEndpoint, `["/usr/bin/true"]`, `["/bin/readlink", "/proc/self/ns/net"]`, 1)
	got := invoker.supervisor(t, seedEnv(filepath.Join(dir, "events.jsonl"),
		"CELLOS_STATE_DIR="+filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR="+filepath.Join(dir, "run")),
		writeFile(t, dir, "spec.json", doc))
	cell := strings.TrimSpace(got.stdout)
	if got.code != 0 || !strings.HasPrefix(cell, "net:[") {
		t.Fatalf("exit %d, stdout %q\n%s", got.code, got.stdout, got)
	}
	if cell == host {
		t.Errorf("the workload is in the host's network namespace %s", host)
	}
}

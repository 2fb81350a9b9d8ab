package compose

import (
	"fmt"
	"slices"
	"strings"
)

// A variable is one name of SPEC §4.1. A name that ends in "*" stands for
// every name that begins so.
type variable struct {
	name string
	// unbuilt says what is missing if this build cannot honour the variable.
	// Setting it is then an error: a setting is never ignored.
	unbuilt string
}

var variables = []variable{
	{name: "CELLOS_DEPLOYMENT_PROFILE"},
	{name: "CELLOS_CELL_BACKEND"},
	{name: "CELLOS_SUBPROCESS_UNSHARE"},
	{name: "CELLOS_DNS_PROXY"},
	{name: "CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE"},
	{name: "CELLOS_JSONL_SINK_PATH"},
	{name: "CELL_OS_JSONL_EVENTS"},
	{name: "CELL_OS_USE_NOOP_SINK"},
	{name: "CELLOS_BROKER"},
	{name: "CELLOS_SECRET_*"},
	{name: "CELLOS_REDACT_EVENT_FIELDS"},
	{name: "CELLOS_RUN_ARGV0_ALLOW_PREFIXES"},
	{name: "CELLOS_RUN_TIMEOUT_MS"},
	{name: "CELLOS_VALIDATE_ONLY"},
	{name: "CELLOS_STATE_DIR"},
	{name: "CELLOS_RUNTIME_DIR"},
	{name: "CELLOS_RESULT_PATH"},
	{name: "CELLOS_STRICT_CONFIG"},
	{name: "CELLOS_EVENT_SIGNING"},
	{name: "CELLOS_EVENT_SIGNING_KID"},
	{name: "CELLOS_EVENT_SIGNING_KEY_BASE64"},
	{name: "CELLOS_EVENT_SIGNING_KEY_PATH"},
	{name: "CELLOS_EVENT_ENVELOPE"},
	{name: "CELLOS_JOURNAL_SYNC"},
	{name: "CELLOS_TEST_*"},

	{name: "CELLOS_NATS_URL", unbuilt: "the JetStream sink"},
	{name: "CELLOS_NATS_SUBJECT", unbuilt: "the JetStream sink"},
	{name: "CELL_OS_REQUIRE_JETSTREAM", unbuilt: "the JetStream sink"},
	{name: "CELLOS_DLQ_DIR", unbuilt: "dead letters"},
	{name: "CELLOS_POLICY_PACK_PATH", unbuilt: "policy packs"},
	{name: "CELLOS_AUTHORITY_KEYS_PATH", unbuilt: "authority derivation"},
	{name: "CELLOS_TRUST_KEYSET_PATH", unbuilt: "trust keysets"},
	{name: "CELLOS_TRUST_VERIFY_KEYS_PATH", unbuilt: "trust keysets"},
	{name: "CELLOS_REQUIRE_TRUST_VERIFY_KEYS", unbuilt: "trust keysets"},
	{name: "CELLOS_EXPORT_*", unbuilt: "exports"},
	{name: "CELLOS_CGROUP_PARENT"},
	{name: "CELLOS_CGROUP_CPU_MAX", unbuilt: "cgroup limits"},
	{name: "CELLOS_UPSTREAM_PROXY", unbuilt: "the relay"},
	{name: "CELLOS_ALLOW_HOST_LOOPBACK", unbuilt: "the relay"},
	{name: "CELLOS_DNS_UPSTREAM_*", unbuilt: "encrypted DNS transports"},
	{name: "CELLOS_DNS_AUTHORITY_REFRESH", unbuilt: "the resolver watch"},
	{name: "CELLOS_PER_FLOW_*", unbuilt: "flow events"},
	{name: "CELLOS_FIRECRACKER_*", unbuilt: "microVM backends"},
	{name: "CELLOS_VAULT_*", unbuilt: "the vault-approle broker"},
	{name: "CELLOS_BROKER_OIDC_*", unbuilt: "the github-oidc broker"},
	{name: "CELLOS_CA_BUNDLE", unbuilt: "providers that speak HTTP"},
	{name: "CELLOS_EVENT_VERIFY_KEYS_PATH", unbuilt: "verification of consumed events"},
	{name: "CELLOS_EVENT_REQUIRE_SIGNED", unbuilt: "verification of consumed events"},
}

func (v variable) matches(name string) bool {
	if prefix, ok := strings.CutSuffix(v.name, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return name == v.name
}

func lookup(name string) (variable, bool) {
	i := slices.IndexFunc(variables, func(v variable) bool { return v.matches(name) })
	if i < 0 {
		return variable{}, false
	}
	return variables[i], true
}

// checkNames looks at every CELLOS variable of an environment ("K=V" strings):
// one that is not built is an error, one that nobody knows a warning.
func checkNames(environ []string) (warnings []string, errs []error) {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" || !strings.HasPrefix(name, "CELLOS_") && !strings.HasPrefix(name, "CELL_OS_") {
			continue
		}
		v, known := lookup(name)
		switch {
		case !known:
			warnings = append(warnings, fmt.Sprintf("%s is not a variable of CellOS and has no effect; did you mean %s?", name, nearest(name)))
		case v.unbuilt != "":
			errs = append(errs, &UnbuiltError{Setting: name, Missing: v.unbuilt})
		}
	}
	slices.Sort(warnings)
	return warnings, errs
}

// UnbuiltError is a setting that asks for what this build does not have.
type UnbuiltError struct {
	Setting string
	Missing string
}

func (e *UnbuiltError) Error() string {
	return fmt.Sprintf("%s: this build does not have %s", e.Setting, e.Missing)
}

// nearest is the known name with the fewest edits to name.
func nearest(name string) string {
	best, distance := "", len(name)+1
	for _, v := range variables {
		if d := editDistance(name, v.name); d < distance {
			best, distance = v.name, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of two names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

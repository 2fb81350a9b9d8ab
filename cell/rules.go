package cell

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// A rule is what one field of the contract keeps on its own. The decoder
// enforces it and the JSON Schema states it, so that the two cannot differ.
type rule struct {
	field string // Type.name; Type.name[] for the items of a list or map

	enum []string
	// check returns the rule that a text breaks, or "". pattern is how much
	// of it a JSON Schema can say: it accepts whatever check accepts.
	check   func(string) string
	pattern string
	maxLen  int  // in characters
	empty   bool // the empty text is a value

	min, max int64 // of an integer; max 0 is maxInteger

	minItems int
	maxItems int // of a list or a map; 0 is no limit but MaxBytes
	unique   bool
	key      func(string) string // check of the keys of a map
	keyLike  string              // its pattern

	item *rule // of the items of a list or a map, set by ruleOf
}

// maxSeconds keeps every duration of a document, in nanoseconds, inside an
// int64: it is a hundred years.
const maxSeconds = 100 * 365 * 24 * 3600

// maxShort is the length of a name that is only carried along.
const maxShort = 256

// rules is every rule that concerns one field alone. That a field is required
// is said by its Go type. Texts are never empty unless the rule says so.
var rules = [...]rule{
	{field: "Document.apiVersion", enum: []string{APIVersion}},
	{field: "Document.kind", enum: []string{Kind}},
	{field: "Spec.id", check: checkID, pattern: patternID, maxLen: 128},

	// What the closing events of a run repeat is short: space for them is
	// reserved before the run.
	{field: "Correlation.correlationId", maxLen: maxShort},
	{field: "Correlation.tenantId", check: checkTenant, pattern: `^[^.*>\s]+$`, maxLen: maxShort},
	{field: "Correlation.platform", maxLen: maxShort},
	{field: "Correlation.externalRunId", maxLen: maxShort},
	{field: "Correlation.externalJobId", maxLen: maxShort},
	{field: "Correlation.labels", maxItems: 64, key: checkLabel, keyLike: `^[\s\S]{1,128}$`},
	{field: "Correlation.labels[]", empty: true, maxLen: maxShort},
	{field: "Placement.poolId", maxLen: maxShort},
	{field: "Placement.queueName", maxLen: maxShort},
	{field: "PolicyRef.packId", maxLen: maxShort},
	{field: "PolicyRef.packVersion", maxLen: maxShort},
	{field: "Placement.kubernetesNamespace", check: checkDNSLabel, pattern: patternDNSLabel, maxLen: 63},
	{field: "Identity.kind", enum: []string{"oidc"}},
	{field: "Identity.secretRef", check: checkSecretRef, pattern: patternSecretRef, maxLen: 128},

	{field: "Environment.base", enum: []string{"system", "none"}},
	{field: "Environment.rootfs", check: checkHostPath, pattern: patternAbsolute, maxLen: maxPath},
	{field: "Environment.vars", key: checkVariable, keyLike: patternVariable},
	{field: "Environment.vars[]", empty: true, check: checkArgument},

	{field: "Authority.secretRefs", unique: true, maxItems: 256},
	{field: "Authority.secretRefs[]", check: checkSecretRef, pattern: patternSecretRef, maxLen: 128},

	{field: "EgressRule.host", check: checkHost},
	{field: "EgressRule.port", min: 1, max: 65535},
	{field: "EgressRule.protocol", enum: []string{"tcp", "tls", "https", "http", "udp", "dns"}},

	{field: "DNSAuthority.hostnameAllowlist", unique: true},
	{field: "DNSAuthority.hostnameAllowlist[]", check: checkAllowed, pattern: patternAllowed},
	{field: "DNSAuthority.answers", enum: []string{AnswersBound, AnswersReal}},
	{field: "DNSAuthority.allowedQueryTypes", minItems: 1, unique: true},
	{field: "DNSAuthority.allowedQueryTypes[]", enum: queryTypes},
	{field: "DNSAuthority.denyResponse", enum: []string{"nxdomain", "refused"}},
	{field: "DNSAuthority.resolvers", maxItems: 16},
	{field: "Resolver.resolverId", check: checkID, pattern: patternID, maxLen: 128},
	{field: "Resolver.protocol", enum: []string{"do53-udp", "do53-tcp", "dot", "doh", "doq"}},
	{field: "Resolver.serverName", check: checkServerName},
	{field: "Resolver.url", check: checkHTTPS, pattern: `^https://`},
	{field: "DNSSEC.trustAnchorsPath", check: checkPath, pattern: patternAbsolute, maxLen: maxPath},
	{field: "RefreshPolicy.strategy", enum: []string{"ttl-honor", "manual"}},
	{field: "RefreshPolicy.minTtlSeconds", max: maxSeconds},
	{field: "RefreshPolicy.maxStaleSeconds", max: maxSeconds},
	{field: "RebindingPolicy.responseIpAllowlist", unique: true},
	{field: "RebindingPolicy.responseIpAllowlist[]", check: checkResponseRange, pattern: `^[0-9A-Fa-f.:]+(/[0-9]+)?$`},

	{field: "Mount.source", check: checkHostPath, pattern: patternAbsolute, maxLen: maxPath},
	{field: "Mount.target", check: checkTarget, pattern: patternAbsolute, maxLen: maxPath},
	{field: "Mount.protect", unique: true},
	{field: "Mount.protect[]", check: checkRelative, pattern: `^[^/]`, maxLen: maxPath},

	{field: "Lifetime.ttlSeconds", min: 1, max: maxSeconds},

	{field: "Run.argv", minItems: 1},
	{field: "Run.argv[]", empty: true, check: checkArgument},
	{field: "Run.user", check: checkUser, pattern: `^([0-9]+(:[0-9]+)?|[A-Za-z_][A-Za-z0-9_-]*)$`, maxLen: 32},
	{field: "Run.workingDirectory", check: checkWorkingDirectory, pattern: patternAbsolute, maxLen: maxPath},
	{field: "Run.secretDelivery", enum: []string{"env", "file", "runtimeBroker", "runtimeLeasedBroker"}},
	{field: "Run.timeoutMs", min: 1, max: maxSeconds * 1000},
	{field: "Run.timeoutSeconds", min: 1, max: maxSeconds},

	{field: "Limits.memoryMaxBytes", min: 1},
	{field: "Limits.pidsMax", min: 1},
	// Three descriptors are open before the program is.
	{field: "Limits.openFilesMax", min: 4},
	{field: "Limits.diskMaxBytes", min: 1},
	// The closing events of a run have this much reserved.
	{field: "Limits.eventsMaxBytes", min: 256 << 10},
	{field: "Limits.gracefulShutdownSeconds", max: maxSeconds},
	// The kernel's own bounds (cgroup v2, cpu.max).
	{field: "CPUMax.quotaMicros", min: 1000},
	{field: "CPUMax.periodMicros", min: 1000, max: 1_000_000},

	{field: "SetupPhase.argv", minItems: 1},
	{field: "SetupPhase.argv[]", empty: true, check: checkArgument},
	{field: "SetupPhase.hostnameAllowlist", unique: true},
	{field: "SetupPhase.hostnameAllowlist[]", check: checkAllowed, pattern: patternAllowed},
	{field: "SetupPhase.timeoutMs", min: 1, max: maxSeconds * 1000},

	{field: "ExportTarget.name", check: checkID, pattern: patternID, maxLen: 128},
	{field: "ExportTarget.kind", enum: []string{"local", "http", "s3"}},
	{field: "ExportTarget.path", check: checkPath, pattern: patternAbsolute, maxLen: maxPath},
	{field: "ExportTarget.baseUrl", check: checkHTTPURL, pattern: `^https?://`},
	{field: "Export.artifacts", minItems: 1, maxItems: 256},
	{field: "Artifact.name", check: checkID, pattern: patternID, maxLen: 128},
	{field: "Artifact.path", check: checkArtifactPath, maxLen: maxPath},
}

// exclusive lists fields of which an object has one at most, and why.
var exclusive = [...]struct{ typ, a, b, why string }{
	{"Run", "timeoutMs", "timeoutSeconds", "declare one of the two"},
	{"Environment", "image", "rootfs", "a cell starts from one file system; declare one of the two"},
}

// ruleOf returns the rule of a field, with the rule of its items. A field
// without an entry has the zero rule.
func ruleOf(t reflect.Type, name string) rule {
	key := t.Name() + "." + name
	r := lookupRule(key)
	item := lookupRule(key + "[]")
	r.item = &item
	return r
}

func lookupRule(key string) rule {
	for _, r := range rules {
		if r.field == key {
			return r
		}
	}
	return rule{}
}

func (r rule) items() rule {
	if r.item == nil {
		return rule{}
	}
	return *r.item
}

// checkCount checks the number of items of a list or a map.
func (r rule) checkCount(n int) string {
	switch {
	case n < r.minItems:
		return "must not be empty"
	case r.maxItems > 0 && n > r.maxItems:
		return fmt.Sprintf("must have at most %d items, not %d", r.maxItems, n)
	}
	return ""
}

func (r rule) checkText(s string) string {
	switch {
	case r.enum != nil:
		for _, allowed := range r.enum {
			if s == allowed {
				return ""
			}
		}
		return "must be " + oneOf(r.enum)
	case s == "" && !r.empty:
		return "must not be empty"
	case strings.IndexByte(s, 0) >= 0:
		return "must not contain a NUL character"
	case r.maxLen > 0 && utf8.RuneCountInString(s) > r.maxLen:
		return fmt.Sprintf("must be at most %d characters long", r.maxLen)
	case r.check != nil:
		return r.check(s)
	}
	return ""
}

func oneOf(values []string) string {
	if len(values) == 1 {
		return quote(values[0])
	}
	return "one of " + strings.Join(values, ", ")
}

func (r rule) checkInt(v int64) string {
	limit := r.max
	if limit == 0 {
		limit = maxInteger
	}
	switch {
	case v >= r.min && v <= limit:
		return ""
	case r.max == 0:
		return fmt.Sprintf("must be at least %d", r.min)
	}
	return fmt.Sprintf("must be %d to %d", r.min, r.max)
}

func (r rule) checkKey(name string) string {
	if r.key == nil {
		return ""
	}
	return r.key(name)
}

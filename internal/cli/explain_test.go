package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"cellos.io/cellos/supervisor"
)

const explainable = `
apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: explained
  authority: {secretRefs: [api-token], dnsAuthority: {hostnameAllowlist: [a.example], resolvers: [{resolverId: r, endpoint: "192.0.2.53:53", protocol: do53-udp}]}}
  lifetime: {ttlSeconds: 90}
  run: {argv: ["true"]}
`

// explain runs cellos explain on a document with settings.
func explain(doc string, args []string, environ ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	env := &Env{
		Stdin: strings.NewReader(doc), Stdout: &out, Stderr: &err,
		Getenv: func(string) string { return "" }, Environ: func() []string { return environ },
	}
	code = Main(env, append([]string{"explain", "-"}, args...))
	return code, out.String(), err.String()
}

var portableStub = []string{"CELLOS_DEPLOYMENT_PROFILE=portable", "CELLOS_CELL_BACKEND=stub", "CELLOS_SUBPROCESS_UNSHARE=net"}

func TestExplain(t *testing.T) {
	code, out, stderr := explain(explainable, nil, portableStub...)
	if code != 0 || stderr != "" {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{"Cell explained, on backend stub under profile portable.", "a.example\n", "api-token  as a variable", "1m30s after it was accepted"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

func TestExplainJSON(t *testing.T) {
	code, out, _ := explain(explainable, []string{"-o", "json"}, portableStub...)
	var p struct {
		SpecID   string
		DNS      struct{ Names []string }
		Refusals []any
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != 0 || p.SpecID != "explained" || len(p.DNS.Names) != 1 || len(p.Refusals) != 0 {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

// What would not run is explained all the same, and the code says so.
func TestExplainRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		doc     string
		environ []string
		code    int
		want    string
	}{
		"cannot be enforced": {strings.Replace(explainable, "run: {", "telemetry: {guestAgent: true}\n  run: {", 1), portableStub, supervisor.ExitCannot, "spec.telemetry.guestAgent"},
		"invalid":            {strings.Replace(explainable, "90", "0", 1), portableStub, supervisor.ExitInvalidSpec, "<stdin>:7:26: spec.lifetime.ttlSeconds: 0"},
		"settings":           {explainable, []string{"CELLOS_CELL_BACKEND=docker"}, supervisor.ExitInternal, "CELLOS_CELL_BACKEND"},
		"unbuilt settings":   {explainable, append(portableStub, "CELLOS_NATS_URL=nats://x"), supervisor.ExitCannot, "CELLOS_NATS_URL"},
		"format":             {explainable, portableStub, exitUnusable, "-o yaml"},
	} {
		var args []string
		if name == "format" {
			args = []string{"-o", "yaml"}
		}
		code, out, stderr := explain(c.doc, args, c.environ...)
		if code != c.code || !strings.Contains(out+stderr, c.want) {
			t.Errorf("%s: exit %d, want %d with %q\n%s%s", name, code, c.code, c.want, out, stderr)
		}
	}
}

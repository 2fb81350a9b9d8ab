package plan_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

// Each case is a document and a host; the words are beside it.
func TestExplain(t *testing.T) {
	full := nativeHost()
	full.Relay, full.IPv6 = true, true
	full.Nameservers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}
	rootless := full
	rootless.IDBlocks, rootless.IPv6 = false, false
	watched := full
	watched.DNSProxy = plan.On
	stub := stubHost()
	bare := stubHost()
	bare.Namespaces = plan.Namespaces{}
	for _, c := range []struct {
		document, golden string
		host             plan.Host
	}{
		{"everything", "everything", full},
		{"everything", "everything-stub", stub},
		{"nothing", "nothing", full},
		{"nothing", "nothing-rootless", rootless},
		{"nothing", "nothing-watched", watched},
		{"nothing", "nothing-bare", bare},
	} {
		t.Run(c.golden, func(t *testing.T) {
			path := filepath.Join("testdata", "explain", c.document+".yaml")
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := cell.Parse(path, src)
			if err != nil {
				t.Fatal(err)
			}
			p, refusals := plan.Compile(doc, c.host)
			// What is not built comes first, and changes from build to build.
			refusals = refusals[len(doc.Unbuilt()):]
			got := plan.Explain(doc, p, refusals)
			for _, r := range got {
				if r != '\n' && !strconv.IsPrint(r) {
					t.Errorf("%q would reach a terminal", r)
				}
			}
			for line := range strings.Lines(got) {
				if strings.HasSuffix(line, " \n") {
					t.Errorf("white space at the end of %q", line)
				}
			}
			golden(t, filepath.Join("testdata", "explain", c.golden+".txt"), []byte(got))
		})
	}
}

// A rule that is refused grants nothing, and is not described as if it did.
func TestExplainRefusedRule(t *testing.T) {
	doc, err := cell.Parse("x.yaml", []byte(`
apiVersion: cellos.io/v1
kind: ExecutionCell
spec:
  id: x
  authority: {egressRules: [{host: a.example, port: 443, protocol: tcp}]}
  lifetime: {ttlSeconds: 1}
  run: {argv: ["true"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := plan.Compile(doc, stubHost())
	got := plan.Explain(doc, p, []plan.Finding{{Path: "spec.authority.egressRules[0]", Reason: "no relay", Remedy: "remove it"}})
	for _, want := range []string{
		"would not run: one thing is refused", "a.example port 443  tcp  refused\n",
		"\nRefused\n  spec.authority.egressRules[0]: no relay (remove it)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}

package cell

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestUnbuiltTable reads the document that declares everything: each row of
// the table must find something there, at the place where it is declared.
func TestUnbuiltTable(t *testing.T) {
	text, err := os.ReadFile("testdata/corpus/valid/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// What it does not declare, because the rest excludes it.
	more := strings.NewReplacer(
		"  base: system\n", "  base: none\n    image: registry.example/app\n",
		"blockDirectWorkloadDns: true", "blockDirectWorkloadDns: false",
		"  filesystem:", "  authorityDerivation: {x: y}\n    cdnAuthority: {x: y}\n    filesystem:",
	).Replace(string(text))
	doc := parse(t, "every-field.yaml", more)
	found := doc.Unbuilt()
	lines := strings.Split(more, "\n")
	for _, u := range found {
		if u.What == "" || u.Remedy == "" || u.Line < 1 || u.Line > len(lines) || u.Col < 1 {
			t.Errorf("%+v", u)
		}
		if line, col := doc.Position(u.Path); line != u.Line || col != u.Col {
			t.Errorf("%s stands at %d:%d, not at %d:%d", u.Path, line, col, u.Line, u.Col)
		}
	}
	for _, f := range unbuilt {
		has := slices.ContainsFunc(found, func(u Unbuilt) bool { return pattern(u.Path) == f.path })
		if !has {
			t.Errorf("%s: not found in a document that declares everything", f.path)
		}
	}
}

// pattern replaces the indices of a path by the "[]" of the table.
func pattern(path string) string {
	var b strings.Builder
	inside := false
	for _, c := range path {
		inside = inside && c != ']'
		if !inside {
			b.WriteRune(c)
		}
		inside = inside || c == '['
	}
	return b.String()
}

// TestUnbuiltPathsExist: a row for a field that does not exist refuses nothing.
func TestUnbuiltPathsExist(t *testing.T) {
	for _, f := range unbuilt {
		typ := reflect.TypeFor[Document]()
		for name := range strings.SplitSeq(f.path, ".") {
			name, list := strings.CutSuffix(name, "[]")
			i := slices.IndexFunc(fieldsOf(typ), func(s structField) bool { return s.name == name })
			if i < 0 {
				t.Errorf("%s: %s has no field %s", f.path, typ, name)
				break
			}
			typ = typ.Field(fieldsOf(typ)[i].index).Type
			if typ.Kind() == reflect.Pointer || list {
				typ = typ.Elem()
			}
		}
	}
}

// built lists the fields that this build enforces. With the table it covers
// every field: none is ignored because nobody thought of it.
var built = []string{
	"apiVersion", "kind", "spec.id", "spec.correlation", "spec.placement", "spec.environment.vars",
	"spec.environment.base", "spec.environment.rootfs",
	"spec.authority.secretRefs",
	"spec.authority.filesystem.mounts[].source", "spec.authority.filesystem.mounts[].target",
	"spec.authority.filesystem.mounts[].readOnly", "spec.authority.filesystem.mounts[].protect[]",
	"spec.authority.dnsAuthority.answers", "spec.authority.dnsAuthority.allowedQueryTypes[]",
	"spec.authority.dnsAuthority.rebindingPolicy.responseIpAllowlist[]",
	"spec.authority.dnsAuthority.hostnameAllowlist",
	"spec.authority.dnsAuthority.denyResponse",
	"spec.authority.dnsAuthority.resolvers[].resolverId",
	"spec.authority.dnsAuthority.resolvers[].endpoint",
	"spec.lifetime.ttlSeconds",
	"spec.run.argv", "spec.run.user", "spec.run.workingDirectory", "spec.run.limits.pidsMax", "spec.run.limits.diskMaxBytes", "spec.run.timeoutMs", "spec.run.timeoutSeconds",
	"spec.authority.filesystem", "spec.run.limits.memoryMaxBytes", "spec.run.limits.cpuMax", "spec.run.limits.openFilesMax", "spec.run.limits.eventsMaxBytes", "spec.run.limits.gracefulShutdownSeconds",
}

func TestEveryFieldIsBuiltOrRefused(t *testing.T) {
	covered := func(path string) bool {
		for _, b := range built {
			if strings.HasPrefix(path+".", b+".") || strings.HasPrefix(path, b+"[") {
				return true
			}
		}
		for _, f := range unbuilt {
			if strings.HasPrefix(path+".", f.path+".") || strings.HasPrefix(path, f.path+"[") {
				return true
			}
		}
		return false
	}
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		switch typ.Kind() {
		case reflect.Pointer:
			walk(typ.Elem(), path)
		case reflect.Slice:
			walk(typ.Elem(), path+"[]")
		case reflect.Struct:
			for _, f := range fieldsOf(typ) {
				walk(typ.Field(f.index).Type, strings.TrimPrefix(path+"."+f.name, "."))
			}
		default:
			if !covered(path) {
				t.Errorf("%s is neither built nor refused", path)
			}
		}
	}
	walk(reflect.TypeFor[Document](), "")
}

func TestUnbuilt(t *testing.T) {
	spec := func(s string) string {
		return `{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{"id":"demo","lifetime":{"ttlSeconds":60},` + s + `}}`
	}
	rule := func(host string) string {
		return spec(`"authority":{"egressRules":[{"host":"127.0.0.1","port":1,"protocol":"tcp"},{"host":"` + host + `","port":8080,"protocol":"tcp"}]}`)
	}
	for _, test := range []struct {
		text string
		want []string
	}{
		{minimal, nil},
		{rule("127.9.9.9"), nil},
		{rule("::1"), nil},
		{rule("192.0.2.1"), nil},
		{rule("example.com"), nil},
		{rule("0.0.0.0/0"), nil},
		{rule("126.0.0.0/7"), nil},
		{spec(`"authority":{"egressRules":[{"host":"example.com","port":443,"protocol":"tls"}]}`), []string{"spec.authority.egressRules[0]"}},
		{spec(`"authority":{"egressRules":[{"host":"example.com","port":443,"protocol":"https"}]}`), []string{"spec.authority.egressRules[0]"}},
		{spec(`"authority":{"egressRules":[{"host":"example.com","port":80,"protocol":"http"}]}`), []string{"spec.authority.egressRules[0]"}},
		{spec(`"authority":{"egressRules":[{"host":"192.0.2.1","port":123,"protocol":"udp"}]}`), []string{"spec.authority.egressRules[0]"}},
		{spec(`"authority":{"egressRules":[{"host":"192.0.2.53","port":53,"protocol":"dns"}]}`), nil},
		{rule(HostLoopback), []string{"spec.authority.egressRules[1]"}},
		{spec(`"environment":{"vars":{"A":"b"}},"placement":{"poolId":"p"},"correlation":{"tenantId":"t"}`), nil},
		{spec(`"run":{"argv":["x"],"workingDirectory":"/w","secretDelivery":"env","timeoutMs":5,"limits":{"openFilesMax":64,"eventsMaxBytes":1000000,"gracefulShutdownSeconds":1}}`), nil},
		{spec(`"run":{"argv":["x"],"secretDelivery":"file"}`), nil},
		{spec(`"run":{"argv":["x"],"secretDelivery":"runtimeBroker"}`), []string{"spec.run.secretDelivery"}},
		{spec(`"telemetry":{"guestAgent":false}`), nil},
		{spec(`"telemetry":{"guestAgent":true}`), []string{"spec.telemetry.guestAgent"}},
		{spec(`"environment":{"rootfs":"/srv/r"}`), nil},
		{spec(`"authority":{"dnsAuthority":{"answers":"real","allowedQueryTypes":["A","TXT"],"blockDirectWorkloadDns":true}}`), nil},
		{spec(`"authority":{"dnsAuthority":{"rebindingPolicy":{"rejectOnRebind":true}}}`), []string{"spec.authority.dnsAuthority.rebindingPolicy.rejectOnRebind"}},
		{spec(`"ingress":[]`), []string{"spec.ingress"}},
		{spec(`"ingress":""`), []string{"spec.ingress"}},
		{spec(`"ingress":false`), []string{"spec.ingress"}},
	} {
		doc := parse(t, "a.json", test.text)
		var got []string
		for _, u := range doc.Unbuilt() {
			got = append(got, u.Path)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.text, got, test.want)
		}
	}
}

// TestUnbuiltWithoutText: a document that was not parsed is judged as well.
func TestUnbuiltWithoutText(t *testing.T) {
	doc := Document{Spec: Spec{Policy: &PolicyRef{}, Run: &Run{Phases: &Phases{}}}}
	if got := doc.Unbuilt(); len(got) != 2 || got[0].Path != "spec.policy" || got[1].Path != "spec.run.phases" {
		t.Errorf("%+v", got)
	}
}

// TestSeedDocumentsAreBuilt: the documents of the original's end-to-end test
// run on this build.
func TestSeedDocumentsAreBuilt(t *testing.T) {
	for _, name := range []string{"seed-dns-proxy.json", "seed-resolver-endpoint-no-address.json"} {
		text, err := os.ReadFile("testdata/corpus/valid/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if missing := parse(t, name, string(text)).Unbuilt(); len(missing) > 0 {
			t.Errorf("%s: %+v", name, missing)
		}
	}
}

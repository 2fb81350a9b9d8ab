package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site is one installation with a document in it that leaves an orphan, asks
// for an allowed and a refused name, and ends.
type site struct {
	dir, state, run, jsonl, spec, marker string
	env                                  []string
}

func newSite(t *testing.T, who user, upstream, deed string) *site {
	t.Helper()
	return newSiteOn(t, "stub", who, upstream, deed)
}

// backends are those that the promises about death are tested on.
var backends = []string{"stub", "native"}

func newSiteOn(t *testing.T, backend string, who user, upstream, deed string) *site {
	t.Helper()
	dir := who.dir(t)
	s := &site{
		dir: dir, state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run"), jsonl: filepath.Join(dir, "events.jsonl"),
		marker: fmt.Sprintf("cellos-e2e-%d-%x", os.Getpid(), rand.Uint64()),
	}
	profile := "portable"
	authority := map[string]any{
		"secretRefs": []string{"TOKEN"},
		"dnsAuthority": map[string]any{
			"hostnameAllowlist": []string{"api.example.com"},
			"resolvers":         []any{map[string]string{"resolverId": "test", "endpoint": upstream, "protocol": "do53-udp"}},
		},
	}
	if backend == "native" {
		profile = "hardened"
		authority["filesystem"] = map[string]any{"mounts": []any{map[string]string{"source": bin, "target": bin}}}
	}
	doc, err := json.Marshal(map[string]any{
		"apiVersion": "cellos.io/v1", "kind": "ExecutionCell",
		"spec": map[string]any{
			"id":          "killed",
			"environment": map[string]any{"vars": map[string]string{workloadVar: deed}},
			"authority":   authority,
			"lifetime":    map[string]any{"ttlSeconds": 30},
			"run": map[string]any{
				"argv":   []string{filepath.Join(bin, "workload"), s.marker, "api.example.com", "evil.example.com"},
				"limits": map[string]any{"gracefulShutdownSeconds": 1},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.spec = writeFile(t, dir, "cell.json", string(doc))
	s.env = []string{
		"CELLOS_DEPLOYMENT_PROFILE=" + profile, "CELLOS_CELL_BACKEND=" + backend, "CELLOS_SUBPROCESS_UNSHARE=net,mnt,ipc,uts",
		"CELLOS_JSONL_SINK_PATH=" + s.jsonl, "CELLOS_STATE_DIR=" + s.state, "CELLOS_RUNTIME_DIR=" + s.run,
		"CELLOS_SECRET_TOKEN=hunter2-" + s.marker,
	}
	return s
}

// alive are the processes that carry the marker of the site, other than the
// supervisor, which has the path of the document instead.
func (s *site) alive() (pids []string) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range procs {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(s.marker)) {
			pids = append(pids, path+" "+string(bytes.ReplaceAll(b, []byte{0}, []byte(" "))))
		}
	}
	return pids
}

// waitDead waits until nothing of the cell lives and returns how long it took.
func (s *site) waitDead(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	const patience = 10 * time.Second
	for {
		pids := s.alive()
		if len(pids) == 0 {
			return time.Since(since)
		}
		if time.Since(since) > patience {
			t.Fatalf("alive %v after the kill:\n%s", patience, strings.Join(pids, "\n"))
		}
		time.Sleep(time.Millisecond)
	}
}

// checkCollected runs gc and checks that nothing is left and that every trail
// is whole and verified.
func (s *site) checkCollected(t *testing.T, who user) {
	t.Helper()
	if got := who.cellos(t, s.env, "gc"); got.code != 0 {
		t.Fatalf("gc: %s", got)
	}
	s.checkComplete(t, who)
}

func (s *site) checkComplete(t *testing.T, who user) {
	t.Helper()
	if left, err := os.ReadDir(s.run); err == nil && len(left) != 0 {
		t.Errorf("the runtime directory still has %v", left)
	}
	if left, err := os.ReadDir(filepath.Join(s.state, "journal", "open")); err == nil && len(left) != 0 {
		t.Errorf("runs still open: %v", left)
	}
	if _, err := os.Stat(filepath.Join(s.state, "journal", "host.jsonl")); err == nil {
		if got := who.cellos(t, s.env, "audit", "verify"); got.code != 0 {
			t.Errorf("audit verify: %s", got)
		}
	}
	runs, _ := filepath.Glob(filepath.Join(s.state, "journal", "runs", "*.jsonl"))
	for _, path := range runs {
		events := readTrail(t, path)
		if len(events) < 2 || !strings.HasSuffix(events[len(events)-1]["type"].(string), "evidence_bundle.v1.emitted") ||
			!strings.HasSuffix(events[len(events)-2]["type"].(string), "lifecycle.v1.destroyed") {
			t.Errorf("%s does not end with destroyed and the bundle", path)
		}
	}
	s.checkNoSecret(t)
}

// checkNoSecret looks for the secret's value everywhere the run has written.
func (s *site) checkNoSecret(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("hunter2-")) {
			t.Errorf("%s contains a secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// The promise: whoever is killed at whatever moment, the cell dies, a clean-up
// leaves nothing, and the trail is complete.
func TestKilledAtEverySystemCall(t *testing.T) {
	need(t, "netns")
	upstream := startDNS(t)
	for _, backend := range backends {
		for _, victim := range []role{roleSupervisor, roleInit} {
			for _, after := range []bool{false, true} {
				killEverywhere(t, backend, killPoint{role: victim, after: after}, upstream)
			}
		}
	}
}

// maxPoints ends an enumeration that never finds the end of a run.
const maxPoints = 400

func killEverywhere(t *testing.T, backend string, point killPoint, upstream *dnsServer) {
	stride, first := 1, 1
	if backend == "native" && point.role == roleInit {
		// Most of its calls are mounts, in a namespace that dies with it.
		stride = 3
		if point.after {
			first = 2
		}
	}
	if testing.Short() {
		stride *= 7
	}
	var slowest time.Duration
	points := 0
	for point.n = first; point.n < maxPoints; point.n += stride {
		s := newSiteOn(t, backend, invoker, upstream.addr, "lookup")
		tr, err := traceRun(invoker.command(s.env, "cellos-supervisor", "-q", s.spec), point, deadline)
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		if tr.killedAt == "" {
			s.checkComplete(t, invoker) // the run ended before this point
			break
		}
		points++
		slowest = max(slowest, s.waitDead(t, tr.when))
		ok := t.Run(fmt.Sprintf("%s-%s-%s", backend, point, tr.killedAt), func(t *testing.T) { s.checkCollected(t, invoker) })
		if !ok {
			return
		}
	}
	if points == 0 {
		t.Errorf("%s: %s: no kill point was reached", backend, point)
	}
	t.Logf("%s: %s: killed %d times; the slowest cell was gone after %v, tracing included", backend, point, points, slowest)
}

// A clean-up that is killed is repeated by the next one.
func TestCollectKilledAtEverySystemCall(t *testing.T) {
	need(t, "netns")
	upstream := startDNS(t)
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for i, after := range []bool{false, true, false, true} {
		backend := backends[i/2]
		reached := 0
		for n := 1; n < maxPoints; n += stride {
			s := newSiteOn(t, backend, invoker, upstream.addr, "orphan")
			s.killWhenReady(t)
			point := killPoint{role: roleSupervisor, n: n, after: after}
			tr, err := traceRun(invoker.command(s.env, "cellos", "gc"), point, deadline)
			if err != nil {
				t.Fatalf("%s: %v", point, err)
			}
			if tr.killedAt == "" {
				s.checkComplete(t, invoker)
				break
			}
			reached++
			if !t.Run(fmt.Sprintf("gc-%s-%s-%s", backend, point, tr.killedAt), func(t *testing.T) { s.checkCollected(t, invoker) }) {
				return
			}
		}
		if reached == 0 {
			t.Error("no kill point of gc was reached")
		}
		t.Logf("%s: gc killed %d times (after: %v)", backend, reached, after)
	}
}

// killWhenReady starts the site's cell and kills its supervisor once the
// workload runs.
func (s *site) killWhenReady(t *testing.T) {
	t.Helper()
	cmd := invoker.command(s.env, "cellos-supervisor", "-q", s.spec)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	if _, err := out.Read(ready); err != nil {
		t.Fatalf("the workload did not start: %v\n%s", err, &stderr)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	when := time.Now()
	_ = cmd.Wait()
	s.waitDead(t, when)
}

func TestKilledAtRandomMoments(t *testing.T) {
	need(t, "netns")
	kills := 50
	if testing.Short() {
		kills = 10
	}
	upstream := startDNS(t)
	for _, backend := range backends {
		for _, who := range users(t) {
			t.Run(backend+"/"+who.name, func(t *testing.T) {
				s := newSiteOn(t, backend, who, upstream.addr, "lookup")
				s.killAtRandom(t, who, kills)
			})
		}
	}
}

func (s *site) killAtRandom(t *testing.T, who user, kills int) {
	t.Helper()
	took := s.timeOneRun(t, who)
	var slowest time.Duration
	for range kills {
		cmd := who.command(s.env, "cellos-supervisor", "-q", s.spec)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Not a wait for anything: the moment is the point.
		time.Sleep(rand.N(took))
		_ = cmd.Process.Signal(syscall.SIGKILL)
		when := time.Now()
		_ = cmd.Wait()
		slowest = max(slowest, s.waitDead(t, when))
	}
	s.checkCollected(t, who)
	t.Logf("%d kills within %v; the slowest cell was gone after %v", kills, took, slowest)
}

// timeOneRun is how long an undisturbed run takes.
func (s *site) timeOneRun(t *testing.T, who user) time.Duration {
	t.Helper()
	start := time.Now()
	if got := who.supervisor(t, s.env, s.spec); got.code != 0 {
		t.Fatalf("undisturbed run: %s", got)
	}
	return time.Since(start)
}

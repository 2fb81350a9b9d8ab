package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// start begins a run and returns when its workload says "ready".
func (s *site) start(t *testing.T, who user) (pid int, end func() result) {
	t.Helper()
	cmd := who.command(s.env, "cellos-supervisor", s.spec)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	ready := make([]byte, 6)
	if _, err := stdout.Read(ready); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the workload did not start: %v\n%s", err, &stderr)
	}
	return cmd.Process.Pid, func() result {
		t.Helper()
		defer timer.Stop()
		_ = cmd.Process.Signal(os.Interrupt)
		err := cmd.Wait()
		return result{code: exitCode(err), stderr: stderr.String()}
	}
}

func TestCollectLeavesTheLivingAlone(t *testing.T) {
	need(t, "netns")
	s := newSite(t, invoker, startDNS(t).addr, "orphan")
	_, end := s.start(t, invoker)
	for range 3 {
		if got := invoker.cellos(t, s.env, "gc"); got.code != 0 || !strings.Contains(got.stdout, "nothing") {
			t.Errorf("gc beside a live run: %s", got)
		}
	}
	if len(s.alive()) == 0 {
		t.Error("gc ended a live run")
	}
	if got := end(); got.code != 130 {
		t.Errorf("interrupted run: exit %d, want 130\n%s", got.code, got)
	}
	s.checkComplete(t, invoker)
}

// Secrets come by the supervisor's environment, so nobody of the same user may
// read it, or its memory.
func TestSupervisorIsNotDumpable(t *testing.T) {
	need(t, "netns")
	for _, who := range users(t) {
		t.Run(who.name, func(t *testing.T) {
			s := newSite(t, who, startDNS(t).addr, "orphan")
			pid, end := s.start(t, who)
			defer end()
			if who.root {
				// Root reads everything; a dumpable process of root's looks
				// the same. What can be seen is the core limit of the cell.
				t.Skip("root may read every process")
			}
			info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
			if err != nil {
				t.Fatal(err)
			}
			if owner := ownerOf(info); owner != 0 {
				t.Errorf("/proc/PID/environ of the supervisor belongs to %d, not to root: it is dumpable (proc(5))", owner)
			}
		})
	}
}

func TestEnvironmentIsExactlyWhatIsDeclared(t *testing.T) {
	need(t, "netns")
	for _, who := range users(t) {
		t.Run(who.name, func(t *testing.T) {
			dir := who.dir(t)
			spec := writeFile(t, dir, "cell.json", `{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{
				"id":"env","environment":{"vars":{"B":"two words","A":""}},
				"authority":{"secretRefs":["TOKEN"]},"lifetime":{"ttlSeconds":30},
				"run":{"argv":["/usr/bin/env","-0"]}}}`)
			got := who.supervisor(t, siteEnv(dir, "CELLOS_SECRET_TOKEN=hunter2", "CELLOS_SECRET_OTHER=no", "AWS_SECRET_ACCESS_KEY=no"), spec)
			if want := "A=\x00B=two words\x00TOKEN=hunter2\x00"; got.code != 0 || got.stdout != want {
				t.Errorf("exit %d, environment %q, want %q\n%s", got.code, got.stdout, want, got.stderr)
			}
		})
	}
}

func TestDescriptorsAreThree(t *testing.T) {
	dir := t.TempDir()
	spec := writeFile(t, dir, "cell.json", `{"apiVersion":"cellos.io/v1","kind":"ExecutionCell","spec":{
		"id":"fds","lifetime":{"ttlSeconds":30},"run":{"argv":["/bin/ls","/proc/self/fd"]}}}`)
	got := invoker.supervisor(t, siteEnv(dir), spec)
	// The last one is the directory that ls reads.
	fds := strings.Fields(got.stdout)
	if got.code != 0 || !slices.Equal(fds, []string{"0", "1", "2", "3"}) {
		t.Errorf("descriptors %v\n%s", fds, got)
	}
}

func TestReceiptListsEverything(t *testing.T) {
	need(t, "netns")
	s := newSite(t, invoker, startDNS(t).addr, "lookup")
	if got := invoker.supervisor(t, s.env, s.spec); got.code != 0 {
		t.Fatal(got)
	}
	bundle := byType(readTrail(t, s.jsonl), "evidence_bundle.v1.emitted")[0]
	var kinds []string
	receipt, _ := bundle.data()["receipt"].([]any)
	for _, line := range receipt {
		resource, _ := line.(map[string]any)
		kinds = append(kinds, fmt.Sprint(resource["kind"], "/", resource["method"], "/", resource["strength"]))
	}
	if want := []string{"process/pidfd/verified", "runtimeDirectory/path/verified"}; !slices.Equal(kinds, want) {
		t.Errorf("receipt %v, want %v", kinds, want)
	}
	wantData(t, bundle, "residueClass", "none")
}

// The value of a secret is in nothing that we write, and in no word of ours.
func TestSecretIsWrittenNowhere(t *testing.T) {
	need(t, "netns")
	s := newSite(t, invoker, startDNS(t).addr, "lookup")
	got := invoker.supervisor(t, s.env, s.spec)
	if got.code != 0 || strings.Contains(got.stderr, "hunter2-") {
		t.Errorf("a run with a secret: %s", got)
	}
	s.checkNoSecret(t)
}

func TestRefusedNameIsNeverAskedUpstream(t *testing.T) {
	need(t, "netns")
	upstream := startDNS(t)
	s := newSite(t, invoker, upstream.addr, "lookup")
	got := invoker.supervisor(t, s.env, s.spec)
	if got.code != 0 || !strings.Contains(got.stdout, "api.example.com [192.0.2.1]") {
		t.Fatalf("the allowed name did not resolve\n%s", got)
	}
	for _, name := range upstream.names() {
		if !strings.EqualFold(name, "api.example.com.") {
			t.Errorf("the upstream was asked for %s", name)
		}
	}
	s.checkNoSecret(t)
}

// siteEnv is the environment of a stub cell without a network of its own.
func siteEnv(dir string, more ...string) []string {
	return append([]string{
		"CELLOS_DEPLOYMENT_PROFILE=portable", "CELLOS_CELL_BACKEND=stub",
		"CELLOS_STATE_DIR=" + filepath.Join(dir, "state"), "CELLOS_RUNTIME_DIR=" + filepath.Join(dir, "run"),
	}, more...)
}

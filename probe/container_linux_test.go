package probe_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/probe"
)

// answersFile is where TestAnswersOfAnotherHost writes, in the process that
// askInside starts.
const answersFile = "CELLOS_TEST_ANSWERS"

func TestAnswersOfAnotherHost(t *testing.T) {
	path := os.Getenv(answersFile)
	if path == "" {
		t.Skip("only for other tests to start")
	}
	b, err := json.Marshal(patient(probe.Options{}).Run(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// askInside probes in namespaces that a shell has made worse than this host's.
func askInside(t *testing.T, namespaces []string, script string) map[string]probe.Result {
	t.Helper()
	testenv.Need(t, "unshare", "sh")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/answers"
	args := append(namespaces, "sh", "-c", script+` && exec "$0" -test.run '^TestAnswersOfAnotherHost$'`, exe)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), answersFile+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []probe.Result
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	answers := map[string]probe.Result{}
	for _, r := range list {
		answers[r.Name] = r
	}
	return answers
}

// TestMaskedProc: container engines mount over parts of /proc, and the kernel
// then lets nobody inside mount another.
func TestMaskedProc(t *testing.T) {
	testenv.Need(t, "root", "userns", "mount")
	answers := askInside(t, []string{"--mount"}, "mount -t tmpfs none /proc/sys")
	if r := answers["private-proc"]; r.Answer != probe.Unsupported || !strings.Contains(r.Remedy, "systempaths=unconfined") {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"file-view", "low-ports"} {
		if r := answers[name]; r.Answer != probe.Unsupported || r.Detail != "needs private-proc" {
			t.Errorf("%+v", r)
		}
	}
	if r := answers[probe.MountNamespace]; r.Answer != probe.Works {
		t.Errorf("%+v", r)
	}
}

// TestNoMoreUserNamespaces: the limit is one of each user namespace.
func TestNoMoreUserNamespaces(t *testing.T) {
	testenv.Need(t, "userns")
	answers := askInside(t, []string{"--user", "--map-root-user"}, "echo 0 > /proc/sys/user/max_user_namespaces")
	if r := answers[probe.UserNamespace]; r.Answer != probe.Unsupported || r.Remedy != "sysctl -w user.max_user_namespaces=15000" {
		t.Errorf("%+v", r)
	}
	if r := answers[probe.NetNamespace]; r.Answer != probe.Unsupported || r.Detail != "needs user-namespace" {
		t.Errorf("%+v", r)
	}
	if r := answers["seccomp"]; r.Answer != probe.Works {
		t.Errorf("%+v", r)
	}
}

// TestRootOfFewIDs: root of a container that has a user namespace has no ids
// to give to cells.
func TestRootOfFewIDs(t *testing.T) {
	testenv.Need(t, "userns")
	answers := askInside(t, []string{"--user", "--map-root-user"}, "true")
	if r := answers[probe.UserNamespace]; r.Answer != probe.Unsupported || !strings.Contains(r.Remedy, "--userns=host") {
		t.Errorf("%+v", r)
	}
}

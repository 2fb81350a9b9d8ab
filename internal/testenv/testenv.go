// Package testenv tells tests what this machine can do, and tells on tests
// that leave something behind.
//
// A test that needs more than an ordinary process names it:
//
//	testenv.Need(t, "netns", "strace")
//
// and is skipped, with the reason, where it is not to be had. Skips must not
// be counted as passes: what the environment variable CELLOS_TEST_REQUIRE
// names (a comma list, or "all") fails instead.
//
// A package that makes processes, mounts or files ends its tests with
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
//
// which fails the run when something is left of it.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cellos.io/cellos/probe"
)

// RequireVar is the environment variable that turns skips into failures.
const RequireVar = "CELLOS_TEST_REQUIRE"

// Need skips the test unless the machine has everything that is named: root,
// userns, netns, pidns, mount, an ability of package probe by its own name, or
// else the name of a program in PATH.
func Need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		err := Has(name)
		if err == nil {
			continue
		}
		if required(name, os.Getenv(RequireVar)) {
			t.Fatalf("%s is required by %s: %v", name, RequireVar, err)
		}
		t.Skipf("needs %s: %v", name, err)
	}
}

func required(name, list string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == name || item == "all" {
			return true
		}
	}
	return false
}

// patience is how long one probe may take on a machine that runs other tests.
const patience = 30 * time.Second

// host remembers what is certain: a machine does not change during a test run.
var host = sync.OnceValue(func() *probe.Prober {
	p := probe.New(append(probe.Abilities(probe.Options{}), probe.OtherBackends()...)...)
	p.Timeout = patience
	return p
})

// abilities are what tests call those they need most.
var abilities = map[string]string{
	"userns": probe.UserNamespace,
	"netns":  probe.NetNamespace,
	"pidns":  probe.PIDNamespace,
	"mount":  probe.MountNamespace,
}

// Has reports what is missing for a name, or nil. It tries the thing itself
// and does not infer it from versions or settings.
func Has(name string) error {
	if name == "root" {
		if os.Geteuid() != 0 {
			return fmt.Errorf("running as uid %d", os.Geteuid())
		}
		return nil
	}
	if ability, ok := abilities[name]; ok {
		name = ability
	}
	if slices.ContainsFunc(host().Abilities(), func(a probe.Ability) bool { return a.Name == name }) {
		return missing(host().Run(context.Background(), name)[0])
	}
	if strings.ContainsAny(name, "/ ") || name == "" {
		return errors.New("not a name that package testenv knows")
	}
	_, err := exec.LookPath(name)
	return err
}

// missing is what a probe that did not say yes says.
func missing(r probe.Result) error {
	if r.Answer == probe.Works {
		return nil
	}
	if r.Remedy == "" {
		return fmt.Errorf("%s: %s", r.Answer, r.Detail)
	}
	return fmt.Errorf("%s: %s (%s)", r.Answer, r.Detail, r.Remedy)
}

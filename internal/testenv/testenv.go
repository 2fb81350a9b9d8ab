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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// RequireVar is the environment variable that turns skips into failures.
const RequireVar = "CELLOS_TEST_REQUIRE"

// Need skips the test unless the machine has everything that is named: root,
// userns, netns, pidns, mount, or else the name of a program in PATH.
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

// probed remembers answers: a machine does not change during a test run.
var probed sync.Map // name → func() error

// Has reports what is missing for a name, or nil. It tries the thing itself
// and does not infer it from versions or settings.
func Has(name string) error {
	once, _ := probed.LoadOrStore(name, sync.OnceValue(func() error { return probe(name) }))
	return once.(func() error)()
}

func probe(name string) error {
	switch name {
	case "root":
		if os.Geteuid() != 0 {
			return fmt.Errorf("running as uid %d", os.Geteuid())
		}
		return nil
	case "userns", "netns", "pidns", "mount":
		return probeNamespace(name)
	}
	if strings.ContainsAny(name, "/ ") || name == "" {
		return errors.New("not a name that package testenv knows")
	}
	_, err := exec.LookPath(name)
	return err
}

package egresstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"cellos.io/cellos/internal/testenv"
)

// roleVar tells a test binary what it was started as.
const roleVar = "CELLOS_EGRESSTEST"

// The roles.
const (
	roleHost = "host"
	roleUser = "user" // host, by an ordinary user
	roleCell = "cell"
)

// ordinary is the user that has no privileges.
const ordinary = 65533

// Main is for TestMain: os.Exit(egresstest.Main(m)).
func Main(m *testing.M) int {
	switch os.Getenv(roleVar) {
	case roleCell:
		serveSockets()
		return 0
	case roleHost, roleUser:
		return testenv.Main(m)
	}
	if err := testenv.Has("netns"); err != nil {
		// The tests say for themselves what they need.
		return testenv.Main(m)
	}
	role := roleHost
	if os.Geteuid() != 0 {
		role = roleUser
	}
	if code := rerun(role); code != 0 || role == roleUser || special() {
		return code
	}
	fmt.Printf("again as uid %d:\n", ordinary)
	return rerun(roleUser)
}

// special reports whether the run is for something that a second one would
// spoil.
func special() bool {
	for _, arg := range os.Args[1:] {
		for _, flag := range []string{"bench", "fuzz", "coverprofile", "cpuprofile", "memprofile", "list"} {
			name, value, set := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if name == "test."+flag && (value != "" || !set) {
				return true
			}
		}
	}
	return false
}

// rerun runs this test binary in a network namespace of its own.
func rerun(role string) int {
	dir, err := os.MkdirTemp("", "cellos-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, filepath.Base(os.Args[0]))
	if err := copyExecutable(exe, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The file that go test asks for here is not the other user's to write.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(arg, "-test.testlogfile=")
	})
	cmd := exec.Command(exe, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if role == roleUser {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		uid := os.Geteuid()
		if uid == 0 {
			uid = ordinary
			tmp := filepath.Join(dir, "tmp")
			if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chown(tmp, uid, uid)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
		}
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	cmd.SysProcAttr = attr
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "egresstest:", err)
		return 1
	}
	return 0
}

// copyExecutable copies the test binary to where every user can execute it.
func copyExecutable(to, dir string) error {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// Rootless reports whether the tests run without authority over the machine.
func Rootless() bool { return os.Getenv(roleVar) == roleUser }

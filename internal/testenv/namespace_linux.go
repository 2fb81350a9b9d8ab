package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// probeNamespace starts a process with the namespace, and with a user
// namespace when that is the only way for this user. No ids are mapped: a
// non-dumpable process could not do it for its child.
func probeNamespace(name string) error {
	sys := &syscall.SysProcAttr{}
	switch name {
	case "userns":
		sys.Cloneflags = syscall.CLONE_NEWUSER
	case "netns":
		sys.Cloneflags = syscall.CLONE_NEWNET
	case "pidns":
		sys.Cloneflags = syscall.CLONE_NEWPID
	case "mount":
		// Mount namespaces can often be made where nothing may be mounted.
		// After unshare the child makes the root mount private.
		sys.Unshareflags = syscall.CLONE_NEWNS
	}
	if os.Geteuid() != 0 {
		sys.Cloneflags |= syscall.CLONE_NEWUSER
	}
	cmd := exec.Command("/bin/sh", "-c", "true")
	cmd.SysProcAttr = sys
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

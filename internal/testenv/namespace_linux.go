package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// probeNamespace starts a process with the namespace, and with a user
// namespace when that is the only way for this user.
func probeNamespace(name string) error {
	flags := map[string]uintptr{
		"userns": syscall.CLONE_NEWUSER,
		"netns":  syscall.CLONE_NEWNET,
		"pidns":  syscall.CLONE_NEWPID,
		"mount":  syscall.CLONE_NEWNS,
	}[name]
	sys := &syscall.SysProcAttr{Cloneflags: flags}
	if os.Geteuid() != 0 || name == "userns" {
		sys.Cloneflags |= syscall.CLONE_NEWUSER
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	// Mount namespaces can often be made where nothing may be mounted.
	cmd := exec.Command("/bin/sh", "-c", "true")
	if name == "mount" {
		cmd = exec.Command("/bin/sh", "-c", "mount --make-rprivate / && mount -t tmpfs none /tmp")
	}
	cmd.SysProcAttr = sys
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

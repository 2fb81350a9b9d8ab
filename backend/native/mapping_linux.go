package native

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
)

// ownerMap is how one owner of files on the host appears: as an id that is
// mapped into the cell.
type ownerMap struct {
	uid, gid     uint32 // on the host
	toUID, toGID uint32
	count        uint32
}

// namespace returns a user namespace with the map, for mount_setattr(2). A
// namespace exists only with a process in it, or a descriptor of it: a process
// that does nothing is made and ended for each.
func (m ownerMap) namespace(exe string) (*os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer syscall.Close(fds[0]) // what the process waits for
	defer syscall.Close(fds[1])
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(exe, []string{cellinit.Arg0}, &syscall.ProcAttr{
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(fds[1])}, // the last is cellinit.ControlFD
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: int(m.uid), HostID: int(m.toUID), Size: int(m.count)}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: int(m.gid), HostID: int(m.toGID), Size: int(m.count)}},
			Pdeathsig:   syscall.SIGKILL,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make a user namespace for the owners of a mount: %w", err)
	}
	defer func() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				return
			}
		}
	}()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return nil, fmt.Errorf("open a user namespace for the owners of a mount: %w", err)
	}
	return f, nil
}

// detach returns a copy of the mount at a descriptor that belongs to no mount
// namespace yet, with attributes, and with owners mapped if a namespace is
// given (open_tree(2), mount_setattr(2)). What happens to the original does
// not reach it.
func detach(fd int, attributes uint64, owners *os.File) (*os.File, error) {
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	f := os.NewFile(uintptr(tree), "mount")
	attr := unix.MountAttr{Attr_set: attributes, Propagation: unix.MS_PRIVATE}
	if owners != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(owners.Fd())
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		f.Close()
		return nil, os.NewSyscallError("mount_setattr", err)
	}
	return f, nil
}

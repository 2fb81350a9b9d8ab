package probe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const noSuidDevExec = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// scratch makes the mounts private and mounts an empty tmpfs over a directory
// of the host, for this mount namespace only.
func scratch() (dir string, err error) {
	if err := tryMount(); err != nil {
		return "", err
	}
	for _, dir = range []string{"/tmp", "/mnt", "/var", "/usr"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, at("mount a tmpfs", unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1048576"))
		}
	}
	return "", &refusal{step: "mount a tmpfs", errno: unix.ENOENT, text: "there is no directory to mount it on"}
}

// tryProc mounts a fresh /proc in which other users' processes are invisible
// (proc(5)).
func tryProc() (note string, err error) {
	if err := tryMount(); err != nil {
		return "", err
	}
	err = unix.Mount("proc", "/proc", "proc", noSuidDevExec, "hidepid=invisible")
	if !errors.Is(err, unix.EINVAL) {
		return "", at("mount /proc", err)
	}
	// Before Linux 5.8 the option had only numbers.
	err = unix.Mount("proc", "/proc", "proc", noSuidDevExec, "hidepid=2")
	return "hidepid as a number", at("mount /proc with hidepid", err)
}

// tryFiles builds a small file view the way a cell's is built, and makes it
// the root.
func tryFiles() error {
	dir, err := scratch()
	if err != nil {
		return err
	}
	for _, sub := range []string{"usr", "proc"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return at("make a directory", err)
		}
	}
	if err := attach("/usr", filepath.Join(dir, "usr")); err != nil {
		return err
	}
	if err := unix.Mount("proc", filepath.Join(dir, "proc"), "proc", noSuidDevExec, ""); err != nil {
		return at("mount /proc", err)
	}
	if err := os.Chdir(dir); err != nil {
		return at("enter the new root", err)
	}
	// The old root ends up over the new one and is taken away from there
	// (pivot_root(2)).
	if err := unix.PivotRoot(".", "."); err != nil {
		return at("make it the root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return at("detach the old root", err)
	}
	if err := os.Chdir("/"); err != nil {
		return at("enter the new root", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return at("make the root read-only", err)
	}
	for _, path := range []string{"/file", "/usr/file"} {
		if err := os.WriteFile(path, nil, 0o600); !errors.Is(err, unix.EROFS) {
			return &refusal{step: "refuse to write " + path, errno: unix.EINVAL, text: fmt.Sprint("the error is ", err)}
		}
	}
	return nil
}

// attach mounts a directory read-only by its descriptor, with the mounts below
// it: a part of what belongs to another user namespace cannot be cloned alone
// (mount_namespaces(7)).
func attach(source, target string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return at("clone the mount of "+source, err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return at("make the mount of "+source+" read-only", err)
	}
	return at("attach the mount of "+source, unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// tryPorts lets every user of a network namespace bind low ports (ip(7)).
func tryPorts() error {
	if err := tryMount(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", noSuidDevExec, ""); err != nil {
		return at("mount /proc", err)
	}
	return at("open the ports below 1024", writeFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"))
}

// tryOverlay mounts an overlay file system with all its layers in a tmpfs.
func tryOverlay() error {
	dir, err := scratch()
	if err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return at("enter the tmpfs", err)
	}
	for _, sub := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return at("make a directory", err)
		}
	}
	if err := unix.Mount("overlay", "merged", "overlay", unix.MS_NOSUID|unix.MS_NODEV, "lowerdir=lower,upperdir=upper,workdir=work,userxattr"); err != nil {
		return at("mount an overlay", err)
	}
	return at("write to the overlay", os.WriteFile("merged/file", nil, 0o600))
}

// tryIDMap makes id-mapped clones of the mounts that hold the paths
// (mount_setattr(2)). They are attached nowhere and end with their descriptor.
// It works if it does for the first path.
func tryIDMap(paths []string) (note string, err error) {
	if len(paths) == 0 {
		return "", errors.New("no path to map")
	}
	userns, release, err := mappedNamespace()
	if err != nil {
		return "", err
	}
	defer release()
	var can, cannot []string
	for i, path := range paths {
		kind, mapErr := idMap(path, userns)
		if kind = kind + " at " + path; mapErr != nil {
			cannot = append(cannot, kind)
		} else {
			can = append(can, kind)
		}
		if i == 0 {
			err = mapErr
		}
	}
	note = strings.Join(can, ", ")
	if len(cannot) > 0 {
		note += "; not " + strings.Join(cannot, ", ")
	}
	return note, at("map the ids of a mount", err)
}

// mappedNamespace returns a user namespace that maps the ids of a cell.
func mappedNamespace() (*os.File, func(), error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{arg0, "wait"}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{Uid: lastID, Gid: lastID},
		Pdeathsig: syscall.SIGKILL,
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, at("make a pipe", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, at("make a user namespace", err)
	}
	end := func() { in.Close(); _ = cmd.Wait() }
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		end()
		return nil, nil, at("open a user namespace", err)
	}
	return f, func() { f.Close(); end() }, nil
}

func idMap(path string, userns *os.File) (kind string, err error) {
	kind = "a file system"
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err == nil {
		kind = fileSystemName(int64(stat.Type))
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return kind, err
	}
	defer unix.Close(fd)
	return kind, unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Userns_fd: uint64(userns.Fd())})
}

// fileSystemName is the name of a type of statfs(2).
func fileSystemName(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs",
		unix.V9FS_MAGIC: "9p", unix.FUSE_SUPER_MAGIC: "fuse", 0x2fc12fc1: "zfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", magic)
}

// distinct keeps the first path of each file system, and only paths that
// exist.
func distinct(paths []string) []string {
	var list []string
	var seen []uint64
	for _, path := range paths {
		var stat unix.Stat_t
		if path == "" || unix.Stat(path, &stat) != nil || slices.Contains(seen, stat.Dev) {
			continue
		}
		seen = append(seen, stat.Dev)
		list = append(list, path)
	}
	return list
}

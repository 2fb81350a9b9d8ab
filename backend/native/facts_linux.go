package native

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

// HostFiles looks at what of the host's files a document is about. Private
// are directories of CellOS itself, of which nothing may be mounted.
func HostFiles(doc *cell.Document, private ...string) *plan.HostFiles {
	f := &plan.HostFiles{
		System: map[string]plan.HostPath{}, Mounts: map[string]plan.HostMount{}, Missing: map[string]bool{},
		Private: private, MachineID: randomID(),
	}
	for _, dir := range private {
		// Sources are compared without their symbolic links.
		if real, err := filepath.EvalSymlinks(dir); err == nil && real != dir {
			f.Private = append(f.Private, real)
		}
	}
	env := doc.Spec.Environment
	if env != nil && env.Rootfs != "" {
		f.Mounts[env.Rootfs] = findMount(env.Rootfs, nil)
		f.Rootfs, f.Users = findRootfs(env.Rootfs)
	} else {
		findSystem(f.System)
	}
	missing := func(name string) {
		at := name
		if env != nil {
			at = path.Join(env.Rootfs, name)
		}
		if _, err := os.Lstat(at); err != nil {
			f.Missing[name] = true
		}
	}
	if fs := doc.Spec.Authority.Filesystem; fs != nil {
		for _, m := range fs.Mounts {
			protect := m.Protect
			if protect == nil {
				protect = plan.DefaultProtect
			}
			if m.ReadOnly == nil || *m.ReadOnly {
				protect = nil
			}
			f.Mounts[m.Source] = findMount(m.Source, protect)
			missing(m.Target)
		}
	}
	if run := doc.Spec.Run; run != nil && run.WorkingDirectory != "" {
		missing(run.WorkingDirectory)
	}
	return f
}

// randomID is a machine-id(5) of no machine.
func randomID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// findSystem looks for plan.SystemPaths.
func findSystem(found map[string]plan.HostPath) {
	for _, pattern := range plan.SystemPaths {
		names := []string{pattern}
		if strings.ContainsAny(pattern, "*?[") {
			names, _ = filepath.Glob(pattern)
		}
		for _, name := range names {
			var stat unix.Stat_t
			if unix.Lstat(name, &stat) != nil {
				continue
			}
			var p plan.HostPath
			if stat.Mode&unix.S_IFMT == unix.S_IFLNK {
				p.Link, _ = os.Readlink(name)
				if unix.Stat(name, &stat) != nil {
					continue // it leads nowhere
				}
			}
			p.Public = public(&stat)
			found[name] = p
		}
	}
}

// public reports whether every user may read a directory or regular file.
func public(stat *unix.Stat_t) bool {
	const read, enter = 0o004, 0o001
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return stat.Mode&(read|enter) == read|enter
	case unix.S_IFREG:
		return stat.Mode&read == read
	}
	return false
}

// findMount looks at the source of a mount.
func findMount(source string, protect []string) plan.HostMount {
	f, err := openPath(unix.AT_FDCWD, source, unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return plan.HostMount{Path: source, Err: reason(err)}
	}
	defer f.Close()
	m := plan.HostMount{Path: source}
	// What the kernel calls it: without links, and with the name it has now.
	if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd()))); err == nil {
		m.Path = name
	}
	if err := describe(f, &m); err != nil {
		m.Err = reason(err)
		return m
	}
	for _, p := range protect {
		below, err := openPath(int(f.Fd()), p, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
		if err == nil {
			below.Close()
			m.Protected = append(m.Protected, p)
		}
	}
	if m.Type == "dir" {
		m.Below = findBelow(m.Path)
	}
	return m
}

// describe fills in what a descriptor says.
func describe(f *os.File, m *plan.HostMount) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	m.ID = plan.FileID{Device: uint64(stat.Dev), Inode: stat.Ino}
	m.Owner = plan.User{UID: stat.Uid, GID: stat.Gid}
	m.Type = fileType(stat.Mode)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	m.Filesystem, m.Mappable = mappable(int64(fs.Type))
	return nil
}

func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFIFO:
		return "named pipe"
	case unix.S_IFBLK, unix.S_IFCHR:
		return "device"
	}
	return "special file"
}

// mappable says whether a file system can be mounted with its owners mapped,
// by what is known of its type (the FS_ALLOW_IDMAP flag of the kernel's
// fs/*/super.c). What is not known is tried.
func mappable(magic int64) (name string, can plan.State) {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", plan.Enforced
	case unix.XFS_SUPER_MAGIC:
		return "xfs", plan.Enforced
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", plan.Enforced
	case unix.TMPFS_MAGIC:
		return "tmpfs", plan.Unknown // since Linux 6.3
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", plan.Unavailable
	case unix.NFS_SUPER_MAGIC:
		return "nfs", plan.Unavailable
	case unix.V9FS_MAGIC:
		return "9p", plan.Unavailable
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "smb", plan.Unavailable
	case unix.FUSE_SUPER_MAGIC:
		return "fuse", plan.Unavailable
	}
	return "a file system of type 0x" + strconv.FormatInt(magic, 16), plan.Unknown
}

// maxMountinfo bounds what is read of the host's mounts.
const maxMountinfo = 4 << 20

// findBelow are the mounts below a directory, outermost first, without those
// that another hides.
func findBelow(dir string) []plan.HostMount {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || len(table) > maxMountinfo {
		return nil
	}
	var points []string
	for line := range bytes.Lines(table) {
		// proc_pid_mountinfo(5): id, parent, device, root, mount point.
		fields := bytes.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape(string(fields[4]))
		if strings.HasPrefix(point, dir+"/") && !slices.Contains(points, point) {
			points = append(points, point)
		}
	}
	slices.Sort(points)
	var list []plan.HostMount
	for _, point := range points {
		f, err := openPath(unix.AT_FDCWD, point, unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			continue
		}
		m := plan.HostMount{Path: point}
		if describe(f, &m) != nil || m.Type != "dir" && m.Type != "file" {
			m.Mappable = plan.Unavailable
		}
		f.Close()
		list = append(list, m)
	}
	return list
}

// unescape undoes what mountinfo does to white space: \040 and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxPasswd bounds what is read of a rootfs's users.
const maxPasswd = 1 << 20

// findRootfs lists the top of a rootfs and its etc, and its users.
func findRootfs(source string) (map[string]plan.HostPath, map[string]plan.User) {
	entries := map[string]plan.HostPath{}
	root, err := os.OpenRoot(source)
	if err != nil {
		return entries, nil // said of the source itself
	}
	defer root.Close()
	for _, dir := range []string{".", "etc"} {
		list, _ := readDir(root, dir)
		for _, e := range list {
			p := plan.HostPath{Public: true}
			name := path.Join(dir, e.Name())
			if e.Type()&os.ModeSymlink != 0 {
				p.Link, _ = root.Readlink(name)
			} else if !e.IsDir() && !e.Type().IsRegular() {
				continue
			}
			entries["/"+name] = p
		}
	}
	return entries, readUsers(root)
}

func readDir(root *os.Root, dir string) ([]os.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 1024
	return f.ReadDir(most)
}

// readUsers reads the passwd(5) of a rootfs.
func readUsers(root *os.Root) map[string]plan.User {
	users := map[string]plan.User{}
	f, err := root.Open("etc/passwd")
	if err != nil {
		return users
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 0; n < maxPasswd && lines.Scan(); n += len(lines.Bytes()) + 1 {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 4 {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 16)
		gid, err2 := strconv.ParseUint(fields[3], 10, 16)
		if err == nil && err2 == nil {
			users[fields[0]] = plan.User{UID: uint32(uid), GID: uint32(gid)}
		}
	}
	return users
}

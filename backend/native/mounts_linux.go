package native

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/plan"
)

// mount adds a path of the host that the document declares. It is opened once,
// here, and what was opened is what is mounted.
func (p *preparation) mount(e plan.FileEntry, target string) error {
	source, err := p.open(e)
	if err != nil {
		return err
	}
	if e.Below == "" && p.bases[e.Source] == nil {
		// What lies below is found from here, whatever the path has become.
		p.bases[e.Source] = source
	} else {
		defer source.Close()
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &stat); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if t := stat.Mode & unix.S_IFMT; t != unix.S_IFDIR && t != unix.S_IFREG {
		return fmt.Errorf("%s is neither a directory nor a regular file", e.Source)
	}
	if e.Found != nil && *e.Found != (plan.FileID{Device: uint64(stat.Dev), Inode: stat.Ino}) {
		return fmt.Errorf("%s is no longer what it was when the plan was made", e.Source)
	}
	if p.ids == nil {
		// PID 1 has no other authority than ours, and a mount namespace of
		// its own: it opens the path again and compares.
		p.step("mount "+e.Target, cellinit.Step{
			Op: cellinit.OpBind, Target: target, Source: e.Source, Flags: attributes(e),
			Device: uint64(stat.Dev), Inode: stat.Ino})
		return nil
	}
	owners, err := p.mapping(e)
	if err != nil {
		return err
	}
	tree, err := detach(int(source.Fd()), attributes(e), owners)
	if err != nil {
		if owners != nil && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
			return fmt.Errorf("%s: %w: its file system cannot map the owners of files; move it to ext4, xfs, btrfs or a tmpfs", e.Source, err)
		}
		return fmt.Errorf("%s: %w", e.Source, err)
	}
	p.trees = append(p.trees, tree)
	p.step("mount "+e.Target, cellinit.Step{Op: cellinit.OpAttach, Target: target, File: p.hand(tree)})
	return nil
}

// open opens the source of a mount without following a link of /proc, and
// none at all below another source.
func (p *preparation) open(e plan.FileEntry) (*os.File, error) {
	if e.Below == "" {
		return openPath(unix.AT_FDCWD, e.Source, unix.RESOLVE_NO_MAGICLINKS)
	}
	base, ok := p.bases[e.Below]
	if !ok {
		var err error
		if base, err = openPath(unix.AT_FDCWD, e.Below, unix.RESOLVE_NO_MAGICLINKS); err != nil {
			return nil, err
		}
		p.bases[e.Below] = base
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(e.Source, e.Below), "/")
	return openPath(int(base.Fd()), rel, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
}

func openPath(dir int, name string, resolve uint64) (*os.File, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// mapping is the user namespace by which the owners of a mount are mapped, or
// nil if they are not.
func (p *preparation) mapping(e plan.FileEntry) (*os.File, error) {
	var m ownerMap
	switch e.Map {
	case plan.MapNone:
		return nil, nil
	case plan.MapUser:
		id := p.plan.Identity
		m = ownerMap{
			uid: e.Owner.UID, gid: e.Owner.GID,
			toUID: p.ids.first + id.UID, toGID: p.ids.first + id.GID, count: 1,
		}
		if id.As != nil {
			m.toUID, m.toGID = id.As.UID, id.As.GID
		}
	case plan.MapAll:
		m = ownerMap{toUID: p.ids.first, toGID: p.ids.first, count: blockSize}
	default:
		return nil, fmt.Errorf("owners cannot be mapped as %q", e.Map)
	}
	if f, ok := p.owners[m]; ok {
		return f, nil
	}
	f, err := m.namespace(p.exe)
	if err == nil {
		p.owners[m] = f
	}
	return f, err
}

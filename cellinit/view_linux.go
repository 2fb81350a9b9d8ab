package cellinit

import (
	"syscall"
	"unsafe"
)

// newRoot mounts a tmpfs over the root and goes there. The root directory of
// this process stays what is below it; ".." of a root leads to what is mounted
// on it.
func newRoot(flags uintptr, options string) syscall.Errno {
	if err := syscall.Mount("tmpfs", "/", "tmpfs", flags, options); err != nil {
		return errnoOf(err)
	}
	return errnoOf(syscall.Chdir("/.."))
}

// pivot makes the working directory the root. Both arguments of pivot_root(2)
// may be ".": the old root is then on top of the new one, and is detached with
// everything that was mounted there.
func pivot() syscall.Errno {
	dot := [...]byte{'.', 0}
	at := uintptr(unsafe.Pointer(&dot))
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PIVOT_ROOT, at, at, 0); errno != 0 {
		return errno
	}
	const detach = 2 // MNT_DETACH
	if err := syscall.Unmount(".", detach); err != nil {
		return errnoOf(err)
	}
	if err := syscall.Chdir("/"); err != nil {
		return errnoOf(err)
	}
	// The kernel begins the name of a directory outside the root with
	// "(unreachable)" (getcwd(2)).
	var name [2]byte
	if n, err := syscall.Getcwd(name[:]); err != nil || n != 2 || name[0] != '/' {
		return syscall.EXDEV
	}
	return 0
}

// place opens the directory that Target is in, making it where it is missing,
// and returns the name in it. No symbolic link is followed: in a mount of the
// user's it may lead anywhere.
func place(target string) (dir int, name string, errno syscall.Errno) {
	parent, name := split(target)
	dir, errno = openBeneath(parent, openPath|syscall.O_DIRECTORY)
	if errno == syscall.ENOENT {
		if errno = makeDir(parent, 0o755); errno == 0 {
			dir, errno = openBeneath(parent, openPath|syscall.O_DIRECTORY)
		}
	}
	return dir, name, errno
}

func split(path string) (parent, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return ".", path
}

// makeDir makes a directory and the parents that it lacks.
func makeDir(path string, mode uint32) syscall.Errno {
	if path == "." {
		return 0
	}
	dir, name, errno := place(path)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(dir)
	if err := syscall.Mkdirat(dir, name, mode); err != nil && err != syscall.EEXIST {
		return errnoOf(err)
	}
	return 0
}

func makeFile(path string, mode uint32, data string) syscall.Errno {
	dir, name, errno := place(path)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(dir)
	fd, err := syscall.Openat(dir, name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, mode)
	if err != nil {
		return errnoOf(err)
	}
	defer syscall.Close(fd)
	return writeAll(fd, data)
}

func makeSymlink(text, path string) syscall.Errno {
	dir, name, errno := place(path)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(dir)
	from, err := syscall.BytePtrFromString(text)
	if err != nil {
		return errnoOf(err)
	}
	to, err := syscall.BytePtrFromString(name)
	if err != nil {
		return errnoOf(err)
	}
	_, _, errno = syscall.RawSyscall(syscall.SYS_SYMLINKAT, uintptr(unsafe.Pointer(from)), uintptr(dir), uintptr(unsafe.Pointer(to)))
	return errno
}

// bind mounts a path of the old root. Recursive it must be: without authority
// over the host's mounts, what hides something may not be left out.
func bind(s *Step) syscall.Errno {
	source, err := syscall.Open(s.Source, openPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer syscall.Close(source)
	if s.Inode != 0 {
		var stat syscall.Stat_t
		if err := syscall.Fstat(source, &stat); err != nil {
			return errnoOf(err)
		}
		if stat.Ino != s.Inode || uint64(stat.Dev) != s.Device {
			return syscall.ESTALE
		}
	}
	tree, errno := openTree(source, openTreeClone|syscall.O_CLOEXEC|atRecursive)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(tree)
	if errno := setAttributes(tree, "", atEmptyPath|atRecursive, s.Flags); errno != 0 {
		return errno
	}
	return attach(tree, s.Target)
}

// attach mounts a detached mount on the target, which is made if it is not
// there, after what is mounted.
func attach(tree int, target string) syscall.Errno {
	var stat syscall.Stat_t
	if err := syscall.Fstat(tree, &stat); err != nil {
		return errnoOf(err)
	}
	if stat.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if errno := makeDir(target, 0o755); errno != 0 {
			return errno
		}
	} else if errno := makeFile(target, 0o644, ""); errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	at, errno := openBeneath(target, openPath)
	if errno != 0 {
		return errno
	}
	defer syscall.Close(at)
	return moveMount(tree, at)
}

// mask hides what a file system of the kernel shows.
func mask(target string) syscall.Errno {
	var stat syscall.Stat_t
	switch err := syscall.Lstat(target, &stat); {
	case err == syscall.ENOENT:
		return 0
	case err != nil:
		return errnoOf(err)
	case stat.Mode&syscall.S_IFMT == syscall.S_IFDIR:
		const flags = syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
		return errnoOf(syscall.Mount("tmpfs", target, "tmpfs", flags, "size=4k,nr_inodes=2"))
	}
	return errnoOf(syscall.Mount("/dev/null", target, "", syscall.MS_BIND, ""))
}

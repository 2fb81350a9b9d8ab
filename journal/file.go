package journal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A file is one journal file that this process may append to. Its methods are
// called under the lock of the file.
type file struct {
	*os.File
	path string
	fd   int
	size int64
	// write is write(2); tests make it fail.
	write func(fd int, p []byte) (int, error)
	// broken is set once what is in the file is not known any more.
	broken error
}

func openFile(path string, flags int) (*file, error) {
	f, err := os.OpenFile(path, flags|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return &file{File: f, path: path, fd: int(f.Fd()), size: info.Size(), write: unix.Write}, nil
}

// append writes line with one write(2). If that fails, the file is as before:
//
//	write(line) = short or error  →  ftruncate(size before)
//
// Nobody else can have written in between, because we hold the lock.
func (f *file) append(line []byte) error {
	if f.broken != nil {
		return f.broken
	}
	n, err := f.write(f.fd, line)
	for errors.Is(err, unix.EINTR) {
		n, err = f.write(f.fd, line)
	}
	if err == nil && n < len(line) {
		err = unix.ENOSPC // what a short write to a regular file means
	}
	if err == nil {
		f.size += int64(n)
		return nil
	}
	if n > 0 {
		if undo := f.truncate(f.size); undo != nil {
			f.broken = fmt.Errorf("%s ends in a torn record: %w", f.path, undo)
			return errors.Join(fmt.Errorf("write %s: %w", f.path, err), f.broken)
		}
	}
	if noSpace(err) {
		return fmt.Errorf("write %s: %w: %w", f.path, ErrFull, err)
	}
	return fmt.Errorf("write %s: %w", f.path, err)
}

// truncate cuts the file at size, and frees what was allocated beyond.
func (f *file) truncate(size int64) error {
	for {
		err := unix.Ftruncate(f.fd, size)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("truncate %s: %w", f.path, err)
		}
		f.size = size
		return nil
	}
}

// sync makes what is in the file survive the host. After a failure nothing is
// known about it: the kernel may have dropped the pages and will not report
// the error again (fsync(2), and the PostgreSQL fsync errors of 2018).
func (f *file) sync() error {
	if f.broken != nil {
		return f.broken
	}
	for {
		err := unix.Fdatasync(f.fd)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			f.broken = fmt.Errorf("sync %s: %w", f.path, err)
		}
		return f.broken
	}
}

// lockWait bounds the wait for a lock that is held for the time of one append,
// so that a stopped process cannot stop all others.
const lockWait = 10 * time.Second

// lock takes flock(2) on f, waiting up to wait.
func (f *file) lock(wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.path, err)
		case time.Now().After(deadline):
			return fmt.Errorf("%s: %w for %v", f.path, ErrLocked, wait)
		default:
			time.Sleep(pause)
		}
	}
}

// named reports whether the path of f still names it.
func (f *file) named() bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(f.path)
	return err == nil && os.SameFile(ours, there)
}

func (f *file) unlock() {
	// The only errors are a bad descriptor and EINTR, which unlocking never
	// waits long enough to see.
	_ = unix.Flock(f.fd, unix.LOCK_UN)
}

// syncDir makes the names in a directory survive the host.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

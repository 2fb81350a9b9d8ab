package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/ledger"
)

// Names inside the runtime directory of a run, <runtime>/<run id>.
const (
	lockName     = "lock"      // held by the supervisor for life
	initLockName = "init.lock" // held by PID 1 of the cell for life
)

// errHeld means that another process holds the lock: its owner lives.
var errHeld = errors.New("locked by another process")

// yieldTimeout is how long a run and a clean-up may be in each other's way.
// Each looks for microseconds, but the scheduler may take it off the processor
// while it holds the lock.
const yieldTimeout = 10 * time.Second

// yielding repeats a step until it is done, or has failed for another reason
// than that a neighbour looked at the same directory.
func yielding(step func() (again bool, err error)) error {
	for end := time.Now().Add(yieldTimeout); ; time.Sleep(pollInterval) {
		if again, err := step(); !again || time.Now().After(end) {
			return err
		}
	}
}

// runDir is the runtime directory of one run, locked by us.
type runDir struct {
	path string
	lock *os.File
}

// createRunDir makes the directory of a new run. A clean-up that looks at this
// moment may take the new directory for an abandoned one and remove it, so
// what it took is made again.
func createRunDir(runtime, id string) (*runDir, error) {
	path := filepath.Join(runtime, id)
	var dir *runDir
	err := yielding(func() (again bool, err error) {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		dir, err = lockRunDir(path)
		return errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist), err
	})
	if err != nil {
		return nil, fmt.Errorf("create runtime directory: %w", err)
	}
	return dir, nil
}

// lockRunDir takes the lock of a run, or fails with errHeld.
func lockRunDir(path string) (*runDir, error) {
	lock, err := tryLock(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	// The lock counts only if it is the one that others would find.
	if !sameFile(lock, filepath.Join(path, lockName)) {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", path, errHeld)
	}
	return &runDir{path: path, lock: lock}, nil
}

// tryLock opens, or creates, a lock file and takes its lock without waiting
// (flock(2)). Close-on-exec keeps it from every child.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, errHeld)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func sameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// remove deletes the directory, the lock last, so that a clean-up that finds
// what a killed one left can still own it. It is repeatable. A clean-up that
// looks at this moment makes the lock anew: then the rest is done again, by
// both.
func (d *runDir) remove() error {
	err := yielding(func() (again bool, err error) {
		err = d.removeOnce()
		return errors.Is(err, unix.ENOTEMPTY), err
	})
	if err != nil {
		return fmt.Errorf("remove runtime directory: %w", err)
	}
	return nil
}

func (d *runDir) removeOnce() error {
	for _, name := range []string{initLockName, ledger.FileName, lockName} {
		if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(d.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// close gives the lock up.
func (d *runDir) close() { d.lock.Close() }

package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestRunLockIsExclusive(t *testing.T) {
	runtime := t.TempDir()
	d, err := createRunDir(runtime, "run")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := lockRunDir(d.path); !errors.Is(err, errHeld) {
		t.Fatalf("the lock of a live run was taken: %v, %v", other, err)
	}
	d.close()
	other, err := lockRunDir(d.path)
	if err != nil {
		t.Fatalf("the lock of a dead run cannot be taken: %v", err)
	}
	defer other.close()
	if err := other.remove(); err != nil {
		t.Fatal(err)
	}
	if err := other.remove(); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := os.Stat(d.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// A lock that was removed and made anew is another file: holding the old one
// means nothing.
func TestALockThatIsNoLongerThereIsNotHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	f, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if sameFile(f, path) {
		t.Error("a removed lock counts as held")
	}
	again, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if sameFile(f, path) {
		t.Error("the old file counts as the new one")
	}
}

// A clean-up may take a directory that is being made for an abandoned one.
// Whoever is faster, the run gets a directory with its lock, or an error.
func TestCreateRunDirBesideACleanUp(t *testing.T) {
	runtime := t.TempDir()
	stop := make(chan struct{})
	var cleaner sync.WaitGroup
	cleaner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if d, err := lockRunDir(filepath.Join(runtime, "run")); err == nil {
				_ = d.remove()
				d.close()
			}
		}
	})
	made := 0
	for range 200 {
		d, err := createRunDir(runtime, "run")
		if err != nil {
			continue // lost ten times in a row
		}
		made++
		if !sameFile(d.lock, filepath.Join(d.path, lockName)) {
			t.Fatal("the run does not hold the lock that others find")
		}
		if err := d.remove(); err != nil {
			t.Fatal(err)
		}
		d.close()
	}
	close(stop)
	cleaner.Wait()
	if made == 0 {
		t.Error("no run got its directory")
	}
}

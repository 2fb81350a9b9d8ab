package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/ledger"
)

// The kinds of resource that a run creates. Mounts, namespaces and descriptors
// of a cell die with its PID 1 and need no entry of their own.
const (
	kindRunDir  ledger.Kind = "runtimeDirectory"          // key: path
	kindProcess ledger.Kind = "process"                   // key: path of the lock that it holds for life
	kindCgroup              = ledger.Kind(backend.Cgroup) // key: path
)

// Attributes of bound entries.
const (
	attrState     = "state"  // of a run directory: where the trail is
	attrBoot      = "bootId" // of this boot of the host
	attrPID       = "pid"
	attrStartTime = "startTime" // field 22 of /proc/PID/stat, clock ticks since boot
)

// pollInterval is how often a check that has nothing to wait on looks again.
const pollInterval = 2 * time.Millisecond

func removers(l *ledger.Ledger, dir *runDir) map[ledger.Kind]ledger.Remover {
	return map[ledger.Kind]ledger.Remover{
		kindProcess: removeProcess,
		kindCgroup:  removeCgroup,
		kindRunDir: func(context.Context, ledger.Entry) (ledger.Check, error) {
			// The directory holds the list: it stays while anything else is on it.
			if len(l.Pending()) > 1 {
				return ledger.Check{}, errors.New("kept, because it lists what remains")
			}
			if err := dir.remove(); err != nil {
				return ledger.Check{}, err
			}
			return ledger.Check{Method: ledger.ByPath}, nil
		},
	}
}

// removeCgroup removes a control group, which is listed before the processes in
// it and so comes after them.
func removeCgroup(ctx context.Context, e ledger.Entry) (ledger.Check, error) {
	if err := cgroup.Remove(ctx, e.Key); err != nil {
		return ledger.Check{}, err
	}
	return ledger.Check{Method: ledger.ByCgroup}, nil
}

// removeProcess ends PID 1 of a cell, and with it every process of the cell's
// pid namespace (pid_namespaces(7)): a pidfd of PID 1 becomes readable only
// when all of them are gone.
func removeProcess(ctx context.Context, e ledger.Entry) (ledger.Check, error) {
	if e.Bound == nil {
		// It was perhaps cloned but never told what to run, so there is
		// nothing in its namespace but itself. It ends on its own when its
		// supervisor does; its lock says when.
		if err := waitUnlocked(ctx, e.Key); err != nil {
			return ledger.Check{}, err
		}
		return ledger.Check{Method: ledger.ByLock}, nil
	}
	if bootedAgain(e) {
		// The number may be a stranger's, with the same start time.
		return ledger.Check{Method: ledger.ByPidfd, Inferred: true}, nil
	}
	pid, err := strconv.Atoi(e.Bound[attrPID])
	if err != nil || pid <= 1 {
		return ledger.Check{}, fmt.Errorf("no process id in %v", e.Bound)
	}
	gone := ledger.Check{Method: ledger.ByPidfd}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return gone, nil
	}
	if err != nil {
		return ledger.Check{}, fmt.Errorf("pidfd_open %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// The pidfd is of whoever has the number now. Only the start time tells
	// whether that is still our process.
	if started, err := startTime(pid); err != nil || started != e.Bound[attrStartTime] {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return gone, nil
		}
		return ledger.Check{}, err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return ledger.Check{}, fmt.Errorf("kill %d: %w", pid, err)
	}
	if err := waitReadable(ctx, fd); err != nil {
		return ledger.Check{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return gone, nil
}

// waitReadable waits for a pidfd to say that its process has ended.
func waitReadable(ctx context.Context, fd int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		if n > 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("still there: %w", context.Cause(ctx))
		}
	}
}

// waitUnlocked waits until no process holds the lock file any more. A lock
// that was never made is held by no one.
func waitUnlocked(ctx context.Context, path string) error {
	for {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("open lock: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		f.Close()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still held: %w", filepath.Base(path), context.Cause(ctx))
		case <-time.After(pollInterval):
		}
	}
}

// startTime is field 22 of /proc/PID/stat (proc_pid_stat(5)), which together
// with the pid names a process for ever.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may contain anything.
	_, rest, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: unexpected format", pid)
	}
	return fields[19], nil
}

// bootID names this boot of the host (random(4)); it is empty if that cannot be
// read.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// bootedAgain reports whether the host was started again since the entry was
// bound: no process survives that.
func bootedAgain(e ledger.Entry) bool {
	then, now := e.Bound[attrBoot], bootID()
	return then != "" && now != "" && then != now
}

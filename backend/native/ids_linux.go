package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The ids of the host that cells take, above those that distributions and
// container engines give out.
const (
	firstID   = 0x70000000
	blockSize = 1 << 16
	blocks    = 4096 // up to 0x7fffffff: negative ids are not every program's friend
)

// idsFile is where blocks are locked, whatever the runtime directory is:
// supervisors with different ones share the ids of the host. Byte n is block n.
const idsFile = "/run/cellos/ids"

// A block is 65,536 ids of the host, locked by an open file: whoever has a
// copy of that descriptor keeps the lock, so that PID 1 holds it for life and
// the block is free when the last process of the cell is gone.
type block struct {
	file  *os.File
	first uint32
}

// takeBlock locks a block that nobody has (F_OFD_SETLK, fcntl(2)).
func takeBlock(path string) (*block, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("take user ids: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take user ids: %w", err)
	}
	for n := range int64(blocks) {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: n, Len: 1}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		if err == nil {
			return &block{f, firstID + uint32(n)*blockSize}, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			f.Close()
			return nil, fmt.Errorf("lock user ids in %s: %w", path, err)
		}
	}
	f.Close()
	return nil, fmt.Errorf("take user ids: all %d blocks are in use by other cells", blocks)
}

// maps are the ids of a cell in its user namespace.
func (b *block) maps(inside uint32, as *uint32) []syscall.SysProcIDMap {
	if as == nil {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(b.first), Size: blockSize}}
	}
	// One id of the cell is a user of the host.
	var list []syscall.SysProcIDMap
	if inside > 0 {
		list = append(list, syscall.SysProcIDMap{ContainerID: 0, HostID: int(b.first), Size: int(inside)})
	}
	list = append(list, syscall.SysProcIDMap{ContainerID: int(inside), HostID: int(*as), Size: 1})
	next := inside + 1
	return append(list, syscall.SysProcIDMap{
		ContainerID: int(next), HostID: int(b.first + next), Size: int(blockSize - next),
	})
}

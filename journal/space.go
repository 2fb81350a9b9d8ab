package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ClosingReserve is what a run sets aside for the records that close it.
const ClosingReserve = 256 << 10

// hostReserve is kept ahead of the end of the host chain. A record of it is
// under 2 KiB, so that many runs can be sealed on a full disk.
const hostReserve = 64 << 10

// growBy is how much more is allocated at a time.
const growBy = 128 << 10

// A space is what is allocated beyond the end of a file.
//
//	0 ─── size ─── ordinary records ─── limit-reserve ─── closing records ─── limit
//
// It is allocated with FALLOC_FL_KEEP_SIZE, so the file does not look longer.
type space struct {
	file    *file
	reserve int64
	limit   int64 // allocated up to here
	// zeros is the path of the file that holds the reserve where the file
	// system cannot allocate ahead. It is empty otherwise.
	zeros    string
	allocate allocator
}

// An allocator is fallocate(2); tests make it fail.
type allocator func(fd int, mode uint32, off, length int64) error

// newSpace allocates reserve bytes beyond the end of f, and some to write to.
func newSpace(f *file, reserve int64, allocate allocator) (*space, error) {
	s := &space{file: f, reserve: reserve, limit: f.size, allocate: allocate}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *space) open() error {
	err := s.extend(s.file.size + s.reserve)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return s.openZeros()
	}
	if err != nil {
		return fmt.Errorf("%s: %w (%d KiB for closing a run): %w", s.file.path, ErrNoReserve, s.reserve>>10, err)
	}
	return nil
}

// extend allocates up to limit, and a little more if there is room.
func (s *space) extend(limit int64) error {
	for _, to := range [...]int64{limit + growBy, limit} {
		err := s.fallocate(s.limit, to-s.limit)
		if err == nil {
			s.limit = to
			return nil
		}
		if !noSpace(err) || to == limit {
			return err
		}
	}
	return nil
}

func (s *space) fallocate(off, length int64) error {
	for {
		err := s.allocate(s.file.fd, unix.FALLOC_FL_KEEP_SIZE, off, length)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// room makes sure that n bytes may be written. An ordinary record leaves the
// reserve alone.
func (s *space) room(n int64, closing bool) error {
	need := s.file.size + n
	if s.zeros != "" {
		return nil // the disk decides, and the reserve is elsewhere
	}
	if !closing {
		need += s.reserve
	}
	if need <= s.limit {
		return nil
	}
	err := s.extend(need)
	if err == nil || closing {
		return nil // a closing record is tried in any case
	}
	return fmt.Errorf("%s: %w: %w", s.file.path, ErrFull, err)
}

// openZeros is the fallback: a file of real zeros, since on some file systems
// without fallocate a file of holes takes no space.
func (s *space) openZeros() error {
	path := s.file.path + ".reserve"
	z, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = z.Write(make([]byte, s.reserve))
		if err == nil {
			// Only a write to the disk shows whether it has room, where the
			// allocation is delayed.
			err = z.Sync()
		}
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("%s: %w (%d KiB for closing a run): %w", path, ErrNoReserve, s.reserve>>10, err)
	}
	s.zeros = path
	return nil
}

// closing makes the reserve available.
func (s *space) closing() error {
	if s.zeros == "" {
		return nil
	}
	if err := os.Remove(s.zeros); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("free the reserve: %w", err)
	}
	return nil
}

// free gives back everything beyond the end of the file.
func (s *space) free() error {
	err := s.file.truncate(s.file.size)
	s.limit = s.file.size
	return errors.Join(err, s.closing())
}

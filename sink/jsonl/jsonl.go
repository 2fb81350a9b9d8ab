// Package jsonl appends records to a file that any number of processes share.
//
// Durability: a record is in the page cache when Write returns; it survives a
// kill, not a power failure (the journal is the durable copy). A record is one
// write(2) under flock(2), so records never interleave, and a line that
// another program left without its end is ended before ours begins.
package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// lockWait bounds the wait for another writer, who holds the lock for the time
// of one write. Only a stopped process holds it longer.
const lockWait = 10 * time.Second

// A Sink appends to one file.
type Sink struct {
	path string

	mu      sync.Mutex // flock does not exclude goroutines of one process
	file    *os.File
	regular bool
	line    []byte
}

// Open opens or creates the file at path. A new file is readable by its owner
// only, since events name programs, arguments and hosts.
func Open(path string) (*Sink, error) {
	// Reading is needed to see whether the last line has an end. A pipe or a
	// terminal is never read.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOCTTY, 0o600)
	if errors.Is(err, os.ErrPermission) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOCTTY, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("events file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("events file: %w", err)
	}
	if info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("events file: %s is a directory", path)
	}
	return &Sink{path: path, file: f, regular: info.Mode().IsRegular()}, nil
}

// Name implements sink.Sink.
func (s *Sink) Name() string { return "events file " + s.path }

// Write implements sink.Sink.
func (s *Sink) Write(record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return fmt.Errorf("%s: %w", s.Name(), os.ErrClosed)
	}
	if err := s.write(record); err != nil {
		return fmt.Errorf("%s: %w", s.Name(), err)
	}
	return nil
}

func (s *Sink) write(record []byte) error {
	fd := int(s.file.Fd())
	if !s.regular {
		_, err := s.file.Write(record)
		return err
	}
	if err := lock(fd); err != nil {
		return err
	}
	defer syscall.Flock(fd, syscall.LOCK_UN)

	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	s.line = s.line[:0]
	if size > 0 {
		var last [1]byte
		if _, err := s.file.ReadAt(last[:], size-1); err == nil && last[0] != '\n' {
			s.line = append(s.line, '\n')
		}
	}
	s.line = append(s.line, record...)
	n, err := syscall.Write(fd, s.line)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Write(fd, s.line)
	}
	if err == nil && n < len(s.line) {
		err = syscall.ENOSPC // what a short write to a file means
	}
	if err == nil {
		return nil
	}
	// Still under the lock: nobody else has written behind us.
	if undo := s.file.Truncate(size); n > 0 && undo != nil {
		return fmt.Errorf("%w, and a part of the record stays in the file: %w", err, undo)
	}
	return err
}

// searchWindow is how much of a file is looked at at once.
const searchWindow = 1 << 20

// Holds implements sink.Holder. It looks from the end, where what it is asked
// for usually is. Of a pipe or a terminal nobody knows: whoever reads it has
// what was written.
func (s *Sink) Holds(record []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return false, fmt.Errorf("%s: %w", s.Name(), os.ErrClosed)
	}
	if !s.regular {
		return true, nil
	}
	info, err := s.file.Stat()
	if err != nil {
		return false, fmt.Errorf("%s: %w", s.Name(), err)
	}
	window := make([]byte, searchWindow+len(record))
	for end := info.Size(); end > 0; end -= searchWindow {
		// Windows overlap by a record, which may lie across their border.
		from := max(0, end-searchWindow)
		n, err := s.file.ReadAt(window[:min(end-from+int64(len(record)), int64(len(window)))], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%s: %w", s.Name(), err)
		}
		if bytes.Contains(window[:n], record) {
			return true, nil
		}
	}
	return false, nil
}

// lock takes the lock, waiting as long as another writer may need it.
func lock(fd int) error {
	deadline := time.Now().Add(lockWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("locked by another process for %v", lockWait)
		default:
			time.Sleep(pause)
		}
	}
}

// Close implements sink.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

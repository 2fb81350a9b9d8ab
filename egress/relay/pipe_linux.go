package relay

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bytes go from socket to socket through a pipe without being copied into the
// process (splice(2)). A connection has a pipe only while bytes are in it: an
// idle one costs two descriptors and no buffer.

const (
	// spliceMax is what one call moves at most, and pipeSize what a pipe is
	// asked to hold: enough that a fast sender is not stopped by it.
	spliceMax = 1 << 20
	pipeSize  = 1 << 18
	// idlePipes are kept for the next that needs one.
	idlePipes = 32

	spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
)

// pipes are those that nobody uses.
type pipes struct {
	mu     sync.Mutex
	idle   []pipe
	closed bool
}

type pipe struct{ r, w int }

func (p pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

func (ps *pipes) get() (pipe, error) {
	ps.mu.Lock()
	if n := len(ps.idle); n > 0 {
		p := ps.idle[n-1]
		ps.idle = ps.idle[:n-1]
		ps.mu.Unlock()
		return p, nil
	}
	ps.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	// A user with many pipes is refused larger ones; smaller ones do too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return pipe{fds[0], fds[1]}, nil
}

// put takes back a pipe that is empty.
func (ps *pipes) put(p pipe) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed || len(ps.idle) >= idlePipes {
		p.close()
		return
	}
	ps.idle = append(ps.idle, p)
}

func (ps *pipes) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.closed = true
	for _, p := range ps.idle {
		p.close()
	}
	ps.idle = nil
}

// pump passes on what src sends to dst until src has ended, and returns how
// much dst has taken.
func (ps *pipes) pump(dst, src *net.TCPConn) (total int64, err error) {
	in, err := src.SyscallConn()
	if err != nil {
		return 0, err
	}
	out, err := dst.SyscallConn()
	if err != nil {
		return 0, err
	}
	m := mover{pipes: ps}
	defer m.release()
	for {
		if err := in.Read(m.fill); err != nil {
			return total, err
		}
		if m.err != nil || m.held == 0 {
			return total, m.err // 0 is the end
		}
		for m.held > 0 {
			if err := out.Write(m.drain); err != nil {
				return total, err
			}
			if m.err != nil {
				return total, m.err
			}
			total += m.moved
		}
	}
}

// A mover is the state of one direction.
type mover struct {
	pipes *pipes
	pipe  pipe
	has   bool  // pipe is valid
	held  int64 // bytes in it
	moved int64 // by the last drain
	err   error
}

// release gives the pipe back, or closes it if bytes are stuck in it.
func (m *mover) release() {
	if !m.has {
		return
	}
	m.has = false
	if m.held > 0 {
		m.pipe.close()
		return
	}
	m.pipes.put(m.pipe)
}

// fill moves what has arrived into the pipe. It returns false to wait, and
// then has no pipe.
func (m *mover) fill(fd uintptr) bool {
	if !m.has {
		if m.pipe, m.err = m.pipes.get(); m.err != nil {
			return true
		}
		m.has = true
	}
	n, err := splice(int(fd), m.pipe.w, spliceMax)
	if err == unix.EAGAIN {
		m.release()
		return false
	}
	m.held, m.err = n, spliceError(err)
	return true
}

// drain moves what is in the pipe to where it is to go. It returns false to
// wait until there is room.
func (m *mover) drain(fd uintptr) bool {
	n, err := splice(m.pipe.r, int(fd), int(m.held))
	if err == unix.EAGAIN {
		return false
	}
	m.moved, m.err = n, spliceError(err)
	m.held -= n
	return true
}

func splice(from, to, max int) (int64, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, max, spliceFlags)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		return n, nil
	}
}

func spliceError(err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError("splice", errno)
	}
	return err
}

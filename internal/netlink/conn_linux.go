package netlink

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timeout bounds the wait for the kernel, which answers while it is asked.
const timeout = 10 * time.Second

// bufferLen takes what the kernel sends at once in a dump.
const bufferLen = 1 << 16

// A Conn is a socket on which one request at a time is answered.
type Conn struct {
	mu   sync.Mutex
	file *os.File
	buf  []byte
}

// NewConn takes over a netlink socket that is not blocking.
func NewConn(f *os.File) (*Conn, error) {
	c := &Conn{file: f}
	err := c.Control(func(fd int) error {
		// Texts that explain an errno; older kernels have none.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
		return nil
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Dial opens a socket in the network namespace of the calling thread.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", os.NewSyscallError("socket", err))
	}
	return NewConn(os.NewFile(uintptr(fd), "netlink"))
}

// Close closes the socket.
func (c *Conn) Close() error { return c.file.Close() }

// Control runs f with the descriptor of the socket.
func (c *Conn) Control(f func(fd int) error) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Grow makes room for a request of n bytes, all of which is sent at once.
func (c *Conn) Grow(n int) error {
	return c.Control(func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, n) == nil {
			return nil
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		if err == nil && got < n {
			err = fmt.Errorf("%d bytes are more than net.core.wmem_max lets an ordinary user send at once (%d)", n, got)
		}
		return err
	})
}

// An Error is the kernel's refusal of a message.
type Error struct {
	Errno syscall.Errno
	Text  string // the kernel's own words, if it has some
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Errno.Error()
	}
	return e.Errno.Error() + ": " + e.Text
}

func (e *Error) Unwrap() error { return e.Errno }

// Execute sends the messages of a builder and returns the first refusal of
// any. One at least must ask for an acknowledgement (NLM_F_ACK).
func (c *Conn) Execute(b *Builder) error { return c.Request(b, nil) }

// Request is Execute, and calls each with every answer to the last message
// that asks for one (NLM_F_ACK or NLM_F_DUMP). An answer's data is valid until
// each returns.
func (c *Conn) Request(b *Builder, each func(Message) error) error {
	msgs, err := b.Messages()
	if err != nil {
		return err
	}
	if b.last == 0 {
		return errors.New("netlink: no message of the request is answered")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		c.buf = make([]byte, bufferLen)
	}
	if err := c.file.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.file.Write(msgs); err != nil {
		return errnoOf(err)
	}
	for {
		n, err := c.file.Read(c.buf)
		if err != nil {
			return errnoOf(err)
		}
		done, err := c.read(c.buf[:n], b.last, each)
		if done || err != nil {
			return err
		}
	}
}

// read handles the messages of one datagram.
func (c *Conn) read(datagram []byte, last uint32, each func(Message) error) (done bool, err error) {
	for m, err := range Split(datagram) {
		if err != nil {
			return false, err
		}
		switch {
		case m.Type == unix.NLMSG_ERROR:
			if err := refusal(m); err != nil {
				return false, err
			}
			done = done || m.Seq == last
		case m.Type == unix.NLMSG_DONE:
			if m.Flags&unix.NLM_F_DUMP_INTR != 0 {
				return false, errors.New("what was listed has changed meanwhile")
			}
			if len(m.Data) >= 4 {
				if code := int32(host.Uint32(m.Data)); code < 0 {
					return false, &Error{Errno: syscall.Errno(-code)}
				}
			}
			return true, nil
		case m.Seq != last || each == nil:
		default:
			if err := each(m); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// refusal reads NLMSG_ERROR; an errno of 0 is an acknowledgement.
func refusal(m Message) error {
	if len(m.Data) < 4 {
		return ErrMessage
	}
	errno := syscall.Errno(-int32(host.Uint32(m.Data)))
	if errno == 0 {
		return nil
	}
	e := &Error{Errno: errno}
	// struct nlmsgerr: errno and the header of the request, and all of the
	// request if the message is not capped.
	skip := 4 + headerLen
	if m.Flags&unix.NLM_F_CAPPED == 0 && len(m.Data) >= skip {
		skip = 4 + align(int(host.Uint32(m.Data[4:])))
	}
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 && len(m.Data) >= skip {
		text := Attr(m.Data[skip:], unix.NLMSGERR_ATTR_MSG)
		if i := slices.Index(text, 0); i >= 0 {
			text = text[:i]
		}
		e.Text = string(text)
	}
	return e
}

// errnoOf drops the name of the descriptor from the error of a file.
func errnoOf(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("netlink: %s: %w", path.Op, path.Err)
	}
	return err
}

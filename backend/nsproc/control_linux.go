package nsproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
)

// sendTimeout bounds how long PID 1, which does nothing but read, may leave
// the control socket full.
const sendTimeout = 5 * time.Second

// A control is the supervisor's end of the control socket. One request at a
// time waits for its answer; reports that nothing asked for go to exited.
type control struct {
	conn *net.UnixConn

	asking  sync.Mutex // held from a request to its answer
	sending sync.Mutex // held for the packets of one message
	answers chan answer
	exited  chan cellinit.Exited // buffered: PID 1 sends one
	ended   chan struct{}        // closed when the socket has
}

type answer struct {
	kind    cellinit.Kind
	payload []byte
	files   []*os.File
}

// newControl returns the supervisor's end and PID 1's. Both close on exec;
// a second copy of the supervisor's end would keep the cell alive after the
// supervisor is gone.
func newControl() (*control, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control socket: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "control")
	theirs := os.NewFile(uintptr(fds[1]), "control of PID 1")
	// FileConn duplicates, so that for a moment there are two of ours, both
	// in this process.
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("open control socket: %w", err)
	}
	c := &control{
		conn:    conn.(*net.UnixConn),
		answers: make(chan answer, 1),
		exited:  make(chan cellinit.Exited, 1),
		ended:   make(chan struct{}),
	}
	return c, theirs, nil
}

// send sends a request.
func (c *control) send(kind cellinit.Kind, payload []byte) error {
	packets := cellinit.Packets(kind, payload)
	if packets == nil {
		// What execve(2) says of the same thing.
		return syscall.E2BIG
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return backend.ErrGone
	}
	for _, p := range packets {
		if _, err := c.conn.Write(p); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("PID 1 of the cell does not read its control socket: %w", err)
			}
			return backend.ErrGone
		}
	}
	return nil
}

// attach hands descriptors over, for the steps of set-up.
func (c *control) attach(files []*os.File) error {
	for batch := range slices.Chunk(files, cellinit.FilesMax) {
		fds := make([]int, len(batch))
		for i, f := range batch {
			fds[i] = int(f.Fd())
		}
		packet := cellinit.Packets(cellinit.KindFiles, cellinit.EncodeNumber(uint32(len(fds))))[0]
		c.sending.Lock()
		_, _, err := c.conn.WriteMsgUnix(packet, syscall.UnixRights(fds...), nil)
		c.sending.Unlock()
		runtime.KeepAlive(batch)
		if err != nil {
			return fmt.Errorf("hand over descriptors: %w", err)
		}
	}
	return nil
}

// ask sends a request and returns the answer to it, or the context's error.
// An answer that comes after that is still taken, so that it is not for the
// next request's. The caller closes the answer's files.
func (c *control) ask(ctx context.Context, kind cellinit.Kind, payload []byte) (answer, error) {
	type result struct {
		answer answer
		err    error
	}
	asked := make(chan result)
	go func() {
		a, err := c.exchange(kind, payload)
		select {
		case asked <- result{a, err}:
		case <-ctx.Done():
			closeAll(a.files)
		}
	}()
	select {
	case r := <-asked:
		return r.answer, r.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// exchange is ask without an end but the answer's or the socket's.
func (c *control) exchange(kind cellinit.Kind, payload []byte) (answer, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if err := c.send(kind, payload); err != nil {
		return answer{}, err
	}
	select {
	case a := <-c.answers:
		return a, nil
	case <-c.ended:
	}
	select {
	case a := <-c.answers: // sent before the end
		return a, nil
	default:
		return answer{}, backend.ErrGone
	}
}

// receive reads reports until the socket ends. What the cell sends is not
// trusted: after anything malformed or unasked for the socket is closed, which
// ends the cell.
func (c *control) receive() {
	defer close(c.ended)
	defer c.conn.Close()
	packet := make([]byte, cellinit.PacketMax+1)
	rights := make([]byte, syscall.CmsgSpace(4*cellinit.SocketsMax))
	var message cellinit.Assembler
	for {
		n, oobn, flags, _, err := c.conn.ReadMsgUnix(packet, rights)
		files := received(rights[:oobn])
		if err != nil || n == 0 || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 {
			closeAll(files)
			return
		}
		kind, payload, done, err := message.Add(packet[:n])
		if err != nil || !done || (len(files) > 0 && kind != cellinit.KindSockets) {
			closeAll(files)
			return // every report is one packet
		}
		if kind == cellinit.KindExited {
			x, err := cellinit.DecodeExited(payload)
			if err != nil {
				return
			}
			select {
			case c.exited <- x:
			default:
				return
			}
			continue
		}
		select {
		case c.answers <- answer{kind, payload, files}:
		default:
			closeAll(files)
			return
		}
	}
}

// received takes the descriptors out of control data.
func received(rights []byte) []*os.File {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	var files []*os.File
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "socket of the cell"))
		}
	}
	return files
}

func closeAll[C io.Closer](list []C) {
	for _, c := range list {
		c.Close()
	}
}

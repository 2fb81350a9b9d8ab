package guard

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

const (
	// logBuffer holds what a burst of refusals logs while the reader is
	// busy: the default loses some at a hundred thousand a second.
	logBuffer = 8 << 20
	// logMessage is what the kernel allocates for the message of a packet.
	logMessage = 512
	// logFlush is how long it may wait for another, in hundredths of a
	// second. The queue threshold of 1 means that it does not.
	logFlush = 1
	// logBatch is how many messages one system call reads at most.
	logBatch = 64
)

// Refusals reads what the firewall logs.
type Refusals struct {
	file *os.File
	raw  syscall.RawConn
	logged
	ending atomic.Bool
}

// logged are the buffers of recvmmsg(2).
type logged struct {
	hdr [logBatch]mmsghdr
	iov [logBatch]unix.Iovec
	buf [logBatch][2 * logMessage]byte
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// OpenRefusals binds a socket of NETLINK_NETFILTER in the namespace to the
// group that the firewall logs to, and takes it over.
func OpenRefusals(f *os.File) (*Refusals, error) {
	c, err := netlink.NewConn(f)
	if err != nil {
		return nil, err
	}
	if err := bindLog(c); err != nil {
		c.Close()
		return nil, fmt.Errorf("receive the log of refusals: %w", err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	_ = f.SetDeadline(time.Time{})
	r := &Refusals{file: f, raw: raw}
	for i := range r.hdr {
		r.iov[i].Base = &r.buf[i][0]
		r.iov[i].SetLen(len(r.buf[i]))
		r.hdr[i].hdr.Iov = &r.iov[i]
		r.hdr[i].hdr.SetIovlen(1)
	}
	return r, nil
}

// bindLog configures the group (struct nfulnl_msg_config_*).
func bindLog(c *netlink.Conn) error {
	err := c.Control(func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, logBuffer) != nil {
			// An ordinary user gets what net.core.rmem_max allows.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, logBuffer)
		}
		// What does not fit is lost without an error: the counter knows.
		return unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1)
	})
	if err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	group := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, plan.LogGroup >> 8, plan.LogGroup & 0xff}
	const config = unix.NFNL_SUBSYS_ULOG<<8 | 1 // NFULNL_MSG_CONFIG
	var bind netlink.Builder
	bind.Message(config, unix.NLM_F_REQUEST|unix.NLM_F_ACK, group)
	bind.U8(cfgCmd, cfgBind)
	if err := c.Execute(&bind); err != nil {
		return err
	}
	var b netlink.Builder
	b.Message(config, unix.NLM_F_REQUEST|unix.NLM_F_ACK, group)
	b.Bytes(cfgMode, append(be.AppendUint32(nil, logMessage), copyPacket, 0))
	b.BE32(cfgBuffer, logMessage)
	b.BE32(cfgTimeout, logFlush)
	b.BE32(cfgThreshold, 1)
	return c.Execute(&b)
}

// Attributes of a configuration and of a packet (enum nfulnl_attr_config,
// nfulnl_attr_type).
const (
	cfgCmd, cfgMode, cfgBuffer, cfgTimeout, cfgThreshold = 1, 2, 3, 4, 5
	cfgBind                                              = 1
	copyPacket                                           = 2
	packetPayload                                        = 9
)

// Read calls each with every refusal that is logged, until End. It then
// returns nil, when all that was logged before has been read.
func (r *Refusals) Read(each func(Refusal)) error {
	for {
		n, err := r.receive()
		if err != nil {
			if r.ending.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
				return r.rest(each)
			}
			return fmt.Errorf("read the log of refusals: %w", err)
		}
		r.parse(n, each)
	}
}

// rest reads what is there without waiting for more.
func (r *Refusals) rest(each func(Refusal)) error {
	for {
		var n int
		var errno syscall.Errno
		if err := r.raw.Control(func(fd uintptr) { n, errno = r.recvmmsg(fd) }); err != nil {
			return fmt.Errorf("read the log of refusals: %w", err)
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return nil
		}
		r.parse(n, each)
	}
}

// receive waits for messages and reads as many as there are.
func (r *Refusals) receive() (n int, err error) {
	var errno syscall.Errno
	err = r.raw.Read(func(fd uintptr) bool {
		n, errno = r.recvmmsg(fd)
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("recvmmsg", errno)
	}
	return n, err
}

func (r *Refusals) recvmmsg(fd uintptr) (int, syscall.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), logBatch, unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func (r *Refusals) parse(n int, each func(Refusal)) {
	for i := range n {
		for m, err := range netlink.Split(r.buf[i][:r.hdr[i].n]) {
			if err != nil {
				break // it is counted
			}
			if m.Type != unix.NFNL_SUBSYS_ULOG<<8 || len(m.Data) < genLen {
				continue
			}
			if refusal, ok := parsePacket(netlink.Attr(m.Data[genLen:], packetPayload)); ok {
				each(refusal)
			}
		}
	}
}

// End makes Read return once everything that was logged has been read. Nothing
// must be able to send in the namespace any more.
func (r *Refusals) End() {
	r.ending.Store(true)
	_ = r.file.SetReadDeadline(time.Unix(1, 0))
}

// Close closes the socket.
func (r *Refusals) Close() error { return r.file.Close() }

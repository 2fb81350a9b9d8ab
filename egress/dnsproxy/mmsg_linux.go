package dnsproxy

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchLen is how many datagrams one system call moves at most. A system call
// for each would be most of the cost of a query.
const batchLen = 32

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// peer is the address of a client, as the kernel writes it, and on a socket
// that asks for it the one at which it has asked.
type peer struct {
	raw unix.RawSockaddrInet6 // or an Inet4, which is shorter
	len uint32
	// at is IP_PKTINFO or IPV6_PKTINFO, the same for what is received and
	// for what is sent (ip(7), RFC 3542); atLen is 0 without.
	at    [pktinfoLen]byte
	atLen uint32
}

// pktinfoLen is room for the longer of the two, with its header.
const pktinfoLen = 40

// asked notes at which address a datagram has arrived. The interface it came
// in by does not matter to the answer.
func (p *peer) asked(control []byte) {
	p.atLen = 0
	if len(control) < unix.SizeofCmsghdr || len(control) > len(p.at) {
		return
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	index := unix.SizeofCmsghdr // of the number of the interface
	switch {
	case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(control) >= unix.CmsgLen(unix.SizeofInet4Pktinfo):
	case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(control) >= unix.CmsgLen(unix.SizeofInet6Pktinfo):
		index += 16
	default:
		return
	}
	copy(p.at[:], control)
	clear(p.at[index : index+4])
	p.atLen = uint32(len(control))
}

func (p *peer) addrPort() netip.AddrPort {
	port := be.Uint16((*[2]byte)(unsafe.Pointer(&p.raw.Port))[:])
	switch p.raw.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&p.raw)).Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(p.raw.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

// receiver reads datagrams in batches.
type receiver struct {
	conn  syscall.RawConn
	hdr   [batchLen]mmsghdr
	iov   [batchLen]unix.Iovec
	peers [batchLen]peer
	at    [batchLen][pktinfoLen]byte
	buf   [batchLen][maxUDP]byte

	read  func(fd uintptr) bool // one closure, made once
	n     int
	errno syscall.Errno
}

func newReceiver(c *net.UDPConn) (*receiver, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &receiver{conn: rc}
	for i := range r.hdr {
		r.iov[i].Base = &r.buf[i][0]
		r.iov[i].SetLen(maxUDP)
		h := &r.hdr[i].hdr
		h.Iov = &r.iov[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.peers[i].raw))
		h.Control = &r.at[i][0]
	}
	r.read = func(fd uintptr) bool {
		n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), batchLen, unix.MSG_DONTWAIT, 0, 0)
		r.n, r.errno = int(n), e
		return e != unix.EAGAIN && e != unix.EINTR
	}
	return r, nil
}

// receive waits for datagrams and returns how many have come.
func (r *receiver) receive() (int, error) {
	for i := range r.hdr {
		r.hdr[i].hdr.Namelen = unix.SizeofSockaddrInet6
		r.hdr[i].hdr.SetControllen(pktinfoLen)
	}
	if err := r.conn.Read(r.read); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	return r.n, nil
}

// datagram returns one of the datagrams that receive has read, valid until it
// is called again, and whether its end was cut off.
func (r *receiver) datagram(i int) (b []byte, cut bool, from *peer) {
	h := &r.hdr[i]
	r.peers[i].len = h.hdr.Namelen
	r.peers[i].asked(r.at[i][:min(h.hdr.Controllen, pktinfoLen)])
	return r.buf[i][:h.n], h.hdr.Flags&unix.MSG_TRUNC != 0, &r.peers[i]
}

// sender collects datagrams for one socket and sends them in batches.
type sender struct {
	hdr [batchLen]mmsghdr
	iov [batchLen]unix.Iovec
	to  [batchLen]peer
	buf []byte
	cap int // of one datagram
	n   int

	write func(fd uintptr) bool
	sent  int
	errno syscall.Errno
}

// newSender returns a sender of datagrams of at most size bytes.
func newSender(size int) *sender {
	s := &sender{buf: make([]byte, batchLen*size), cap: size}
	for i := range s.hdr {
		h := &s.hdr[i].hdr
		h.Iov = &s.iov[i]
		h.SetIovlen(1)
		s.iov[i].Base = &s.buf[i*size]
	}
	s.write = func(fd uintptr) bool {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.hdr[s.sent])), uintptr(s.n-s.sent), unix.MSG_DONTWAIT, 0, 0)
		s.errno = e
		if e == 0 {
			s.sent += int(n)
		}
		return e != unix.EAGAIN && e != unix.EINTR
	}
	return s
}

func (s *sender) full() bool { return s.n == batchLen }

// room is where the next datagram is to be written.
func (s *sender) room() []byte { return s.buf[s.n*s.cap : s.n*s.cap : (s.n+1)*s.cap] }

// add takes the first n bytes of room as a datagram, to the peer of the socket
// or to another.
func (s *sender) add(n int, to *peer) {
	s.iov[s.n].SetLen(n)
	h := &s.hdr[s.n].hdr
	h.Control = nil
	h.SetControllen(0)
	if to == nil {
		h.Name, h.Namelen = nil, 0
	} else {
		s.to[s.n] = *to
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.to[s.n].raw)), to.len
		if to.atLen > 0 {
			h.Control = &s.to[s.n].at[0]
			h.SetControllen(int(to.atLen))
		}
	}
	s.n++
}

// flush sends what was added. A datagram that cannot be sent is lost, as any
// datagram may be; the first error is returned.
func (s *sender) flush(c syscall.RawConn, _ *net.UDPConn) (err error) {
	s.sent = 0
	for s.sent < s.n {
		if e := c.Write(s.write); e != nil {
			err = e // the socket is closed
			break
		}
		if s.errno != 0 {
			if err == nil {
				err = s.errno
			}
			s.sent++
		}
	}
	s.n = 0
	return err
}

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlFD is the child's end of a control socket.
const controlFD = 3

// A Network is a network namespace for a trial, with nothing in it. As in a
// cell, a process inside makes plain sockets and passes them out, and whoever
// made the namespace uses them.
type Network struct {
	mu      sync.Mutex
	control *os.File
	cancel  context.CancelFunc
	done    chan struct{}
}

// OpenNetwork makes a network namespace. It is gone soon after Close, and
// after ctx is done.
func OpenNetwork(ctx context.Context) (*Network, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, at("make a socket pair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	ctx, cancel := context.WithCancel(ctx)
	n := &Network{control: ours, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		defer theirs.Close()
		_, _ = trial{task: "sockets", flags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, control: theirs}.run(ctx)
		// Whoever waits for a socket is not to wait for ever.
		_ = unix.Shutdown(pair[0], unix.SHUT_RDWR)
	}()
	return n, nil
}

// Close ends the process in the namespace.
func (n *Network) Close() {
	n.cancel()
	<-n.done
	n.control.Close()
}

// Socket makes a socket in the namespace. It does not block.
func (n *Network) Socket(domain, typ, protocol int) (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	request := make([]byte, 12)
	for i, v := range []int{domain, typ, protocol} {
		binary.NativeEndian.PutUint32(request[4*i:], uint32(v))
	}
	fd := int(n.control.Fd())
	if err := unix.Sendmsg(fd, request, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return nil, at("ask for a socket", err)
	}
	answer, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	size, oobn, _, _, err := unix.Recvmsg(fd, answer, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, at("get a socket", err)
	}
	if size < len(answer) {
		return nil, errors.New("the process in the network namespace ended")
	}
	if errno := syscall.Errno(binary.NativeEndian.Uint32(answer)); errno != 0 {
		return nil, at(fmt.Sprintf("make a socket of family %d and protocol %d", domain, protocol), errno)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("the process in the network namespace sent no socket")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("the process in the network namespace sent no socket")
	}
	return os.NewFile(uintptr(fds[0]), "socket"), nil
}

// serveSockets is the process in the namespace.
func serveSockets() error {
	request := make([]byte, 12)
	for {
		size, err := unix.Read(controlFD, request)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || size < len(request) {
			return err
		}
		var v [3]int
		for i := range v {
			v[i] = int(binary.NativeEndian.Uint32(request[4*i:]))
		}
		fd, err := unix.Socket(v[0], v[1]|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, v[2])
		answer := make([]byte, 4)
		var errno syscall.Errno
		var rights []byte
		if errors.As(err, &errno) {
			binary.NativeEndian.PutUint32(answer, uint32(errno))
		} else {
			rights = unix.UnixRights(fd)
		}
		err = unix.Sendmsg(controlFD, answer, rights, nil, unix.MSG_NOSIGNAL)
		if rights != nil {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
}

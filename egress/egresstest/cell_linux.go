package egresstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/internal/testenv"
)

// A Cell is a network namespace with nothing in it.
type Cell struct {
	mu   sync.Mutex
	conn *net.UnixConn
	cmd  *exec.Cmd
}

// NewCell starts the process that is all there is to the cell. It ends with
// the test.
func NewCell(t testing.TB) *Cell {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	// In the user namespace it is root, and on the host nobody in particular.
	host := 0x70000000
	if Rootless() {
		host = 0
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"="+roleCell)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: host, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: host, Size: 1}},
		Credential:  &syscall.Credential{NoSetGroups: true},
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		testenv.Need(t, "netns", "userns")
		t.Fatal(err)
	}
	c := &Cell{conn: ours, cmd: cmd}
	t.Cleanup(func() {
		ours.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process of the cell: %v", err)
		}
	})
	return c
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "cell")
	defer f.Close()
	theirs := os.NewFile(uintptr(fds[1]), "cell")
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// PID is the process of the cell.
func (c *Cell) PID() int { return c.cmd.Process.Pid }

// Make returns a socket of the cell, as socket(2) makes it.
func (c *Cell) Make(domain, typ, protocol int) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var req [12]byte
	for i, v := range []int{domain, typ, protocol} {
		binary.NativeEndian.PutUint32(req[4*i:], uint32(v))
	}
	if _, err := c.conn.Write(req[:]); err != nil {
		return nil, err
	}
	var reply [4]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.conn.ReadMsgUnix(reply[:], oob)
	if err != nil || n != len(reply) {
		return nil, fmt.Errorf("ask the cell for a socket: %w", errors.Join(err, errors.New("no answer")))
	}
	if errno := binary.NativeEndian.Uint32(reply[:]); errno != 0 {
		return nil, os.NewSyscallError("socket", syscall.Errno(errno))
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("the cell sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("the cell sent no descriptor")
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "socket of the cell"), nil
}

// serveSockets is the process of a cell.
func serveSockets() {
	const control = 3
	var req [12]byte
	for {
		n, err := unix.Read(control, req[:])
		if err == unix.EINTR {
			continue
		}
		if n != len(req) || err != nil {
			return
		}
		arg := func(i int) int { return int(binary.NativeEndian.Uint32(req[4*i:])) }
		fd, err := unix.Socket(arg(0), arg(1)|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, arg(2))
		var reply [4]byte
		var rights []byte
		if err != nil {
			errno, _ := err.(syscall.Errno)
			binary.NativeEndian.PutUint32(reply[:], uint32(errno))
		} else {
			rights = unix.UnixRights(fd)
		}
		if err := unix.Sendmsg(control, reply[:], rights, nil, 0); err != nil {
			return
		}
		if err == nil && rights != nil {
			unix.Close(fd)
		}
	}
}

// Socket returns a socket of the cell as PID 1 makes it.
func (c *Cell) Socket(_ context.Context, kind cellinit.SocketKind) (*os.File, error) {
	switch kind {
	case cellinit.UDP4:
		return c.Make(unix.AF_INET, unix.SOCK_DGRAM, 0)
	case cellinit.TCP4:
		return c.Make(unix.AF_INET, unix.SOCK_STREAM, 0)
	case cellinit.UDP6:
		return c.Make(unix.AF_INET6, unix.SOCK_DGRAM, 0)
	case cellinit.TCP6:
		return c.Make(unix.AF_INET6, unix.SOCK_STREAM, 0)
	case cellinit.NetlinkRoute:
		return c.Make(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	case cellinit.NetlinkNetfilter:
		return c.Make(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	}
	return nil, fmt.Errorf("socket of unknown kind %d", kind)
}

package nsproc

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/internal/testenv"
)

// loopback is an address of every network namespace.
var loopback = netip.MustParseAddrPort("127.0.0.1:53")

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// packet is a message of one packet.
func packet(kind cellinit.Kind, payload []byte) []byte {
	return cellinit.Packets(kind, payload)[0]
}

// TestControlRefuses plays a PID 1 that says what it must not. The socket is
// closed, which ends the cell, and no descriptor that came with it stays open:
// Main compares.
func TestControlRefuses(t *testing.T) {
	ready := packet(cellinit.KindReady, nil)
	exited := packet(cellinit.KindExited, cellinit.EncodeExited(cellinit.Exited{}))
	started := packet(cellinit.KindStarted, cellinit.EncodeNumber(2))
	for name, test := range map[string]struct {
		packets [][]byte
		files   int
	}{
		"nothing but garbage":          {packets: [][]byte{[]byte("garbage")}},
		"two answers to no question":   {packets: [][]byte{ready, ready}},
		"two ends":                     {packets: [][]byte{exited, exited}},
		"an end of the wrong size":     {packets: [][]byte{packet(cellinit.KindExited, []byte{1})}},
		"more to come":                 {packets: [][]byte{{1, byte(cellinit.KindReady), 1, 0, 9}}},
		"descriptors that no one asks": {packets: [][]byte{started}, files: 3},
		"more descriptors than fit":    {packets: [][]byte{packet(cellinit.KindSockets, cellinit.EncodeNumber(0))}, files: cellinit.SocketsMax + 40},
		"a packet above the maximum":   {packets: [][]byte{make([]byte, cellinit.PacketMax+100)}},
	} {
		c, theirs, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		go c.receive()
		var rights []byte
		if test.files > 0 {
			fds := make([]int, test.files)
			for i := range fds {
				fds[i] = int(theirs.Fd())
			}
			rights = syscall.UnixRights(fds...)
		}
		for _, p := range test.packets {
			// It may have been closed for the one before.
			err := syscall.Sendmsg(int(theirs.Fd()), p, rights, nil, syscall.MSG_NOSIGNAL)
			if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", name, err)
			}
		}
		<-c.ended
		if err := c.send(cellinit.KindExit, nil); !errors.Is(err, backend.ErrGone) {
			t.Errorf("%s: send after the end: %v", name, err)
		}
		theirs.Close()
	}
}

// TestSocketMustBeOne is a PID 1 that answers a request for one socket with
// another number of descriptors.
func TestSocketMustBeOne(t *testing.T) {
	for _, n := range []int{0, 2} {
		c, theirs, err := newControl()
		if err != nil {
			t.Fatal(err)
		}
		go c.receive()
		cell := &Cell{control: c}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			buf := make([]byte, cellinit.PacketMax)
			if _, err := theirs.Read(buf); err != nil {
				return
			}
			fds := make([]int, n)
			for i := range fds {
				fds[i] = int(theirs.Fd())
			}
			var rights []byte
			if n > 0 {
				rights = syscall.UnixRights(fds...)
			}
			_ = syscall.Sendmsg(int(theirs.Fd()), packet(cellinit.KindSockets, cellinit.EncodeNumber(0)), rights, nil, 0)
		}()
		if f, err := cell.socket(t.Context(), "udp", loopback); !errors.Is(err, cellinit.ErrFrame) {
			t.Errorf("%d descriptors: got %v, %v", n, f, err)
		}
		c.conn.Close()
		<-c.ended
		<-answered
		theirs.Close()
	}
}

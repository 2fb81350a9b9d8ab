package dnsproxy

import (
	"net"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopbackPeer is the address of a socket as the kernel would write it.
func loopbackPeer(conn *net.UDPConn) peer {
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.Addr().Unmap().As4()}
	be.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], addr.Port())
	var p peer
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&p.raw)) = sa
	p.len = unix.SizeofSockaddrInet4
	return p
}

// Addresses of both families, and v4 seen through a v6 socket, are shown alike
// and answered.
func TestPeerAddress(t *testing.T) {
	for _, tc := range []struct{ listen, dial, network, want string }{
		{"127.0.0.1:0", "127.0.0.1", "udp4", "127.0.0.1"},
		{"[::1]:0", "::1", "udp6", "::1"},
		{"[::]:0", "127.0.0.1", "udp4", "127.0.0.1"},
	} {
		l, err := net.ListenPacket("udp", tc.listen)
		if err != nil {
			t.Logf("%s: %v", tc.listen, err) // a host without IPv6
			continue
		}
		conn := l.(*net.UDPConn)
		defer conn.Close()
		client, err := net.DialUDP(tc.network, nil, &net.UDPAddr{IP: net.ParseIP(tc.dial), Port: conn.LocalAddr().(*net.UDPAddr).Port})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		r, err := newReceiver(conn)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := r.receive(); n != 1 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		msg, cut, from := r.datagram(0)
		if string(msg) != "ping" || cut {
			t.Errorf("%s: %q, cut %v", tc.listen, msg, cut)
		}
		want := client.LocalAddr().(*net.UDPAddr).AddrPort()
		if got := from.addrPort(); got.Addr().String() != tc.want || got.Port() != want.Port() {
			t.Errorf("%s: from %v, want %v", tc.listen, got, want)
		}
		raw, _ := conn.SyscallConn()
		s := newSender(maxUDP)
		for range 2 {
			s.add(copy(s.room()[:4], "pong"), from)
		}
		if err := s.flush(raw, conn); err != nil {
			t.Errorf("%s: %v", tc.listen, err)
		}
		buf := make([]byte, 10)
		for range 2 {
			if n, err := client.Read(buf); err != nil || string(buf[:n]) != "pong" {
				t.Errorf("%s: answered %q, %v", tc.listen, buf[:n], err)
			}
		}
	}
}

// A datagram larger than the buffer is known to be cut.
func TestCutDatagram(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteTo(make([]byte, maxUDP+1), conn.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	r, err := newReceiver(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.receive(); err != nil {
		t.Fatal(err)
	}
	if _, cut, _ := r.datagram(0); !cut {
		t.Error("not marked as cut")
	}
}

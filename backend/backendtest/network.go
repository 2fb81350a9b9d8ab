package backendtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// networkTests are about namespaces and the sockets in them.
func networkTests(t *testing.T, s *suite) {
	t.Run("Namespaces", s.testNamespaces)
	if !s.harness.Namespaces.Net {
		t.Skip("the harness asks for no network namespace")
	}
	t.Run("Links", s.testLinks)
	t.Run("ListenUDP", s.testListenUDP)
	t.Run("ListenTCP", s.testListenTCP)
	t.Run("Dial", s.testDial)
	t.Run("DialStops", s.testDialStops)
	t.Run("Errors", s.testSocketErrors)
}

// testNamespaces compares the workload's with this process's.
func (s *suite) testNamespaces(t *testing.T) {
	dir := shared(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	p := s.plan("where")
	p.Process.Dir = dir
	r := s.boot(t, p)
	r.start()
	if x := r.exit(); x.Code != 0 {
		t.Fatalf("exit %+v: %s", x, r.stderr)
	}
	inside := strings.Split(strings.TrimSpace(r.stdout.String()), "\n")[1:]
	want := s.harness.Namespaces
	for i, ns := range []struct {
		name string
		own  bool
	}{
		{"net", want.Net}, {"mnt", want.Mnt}, {"pid", true},
		{"ipc", want.IPC}, {"uts", want.UTS}, {"user", want.User || s.harness.Unprivileged},
	} {
		outside, err := os.Readlink("/proc/self/ns/" + ns.name)
		if err != nil {
			t.Fatal(err)
		}
		if own := inside[i] != outside; own != ns.own {
			t.Errorf("%s namespace of its own: %v, want %v", ns.name, own, ns.own)
		}
	}
}

func (s *suite) testLinks(t *testing.T) {
	got := strings.TrimSpace(s.output(t, "links"))
	if got != "lo true [127.0.0.1/8 ::1/128]" && got != "lo true [127.0.0.1/8]" {
		t.Errorf("links: %q, want lo alone, up, with its addresses", got)
	}
}

// testListenUDP serves the cell on a port that is privileged, before the
// program starts and from outside.
func (s *suite) testListenUDP(t *testing.T) {
	r := s.boot(t, s.plan("dial", "udp!127.0.0.1:53"))
	conn, err := r.cell.ListenUDP(netip.MustParseAddrPort("127.0.0.1:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		buf := make([]byte, 100)
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	r.start()
	if x := r.exit(); x.Code != 0 || r.stdout.String() != "ping\n" {
		t.Errorf("exit %+v, %q %s", x, r.stdout, r.stderr)
	}
}

func (s *suite) testListenTCP(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:53", "[::1]:53"} {
		r := s.boot(t, s.plan("dial", "tcp!"+addr))
		l, err := r.cell.ListenTCP(netip.MustParseAddrPort(addr))
		if err != nil && strings.HasPrefix(addr, "[") && noIPv6(err) {
			t.Logf("no IPv6 here: %v", err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if got := l.Addr().String(); got != addr {
			t.Errorf("listens on %s, want %s", got, addr)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}
		}()
		r.start()
		if x := r.exit(); x.Code != 0 || r.stdout.String() != "ping\n" {
			t.Errorf("%s: exit %+v, %q %s", addr, x, r.stdout, r.stderr)
		}
	}
}

func noIPv6(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (s *suite) testDial(t *testing.T) {
	const addr = "127.0.0.1:5353"
	r := s.run(t, "listen", addr)
	r.ready()
	conn, err := r.cell.Dial(t.Context(), "tcp", netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != addr {
		t.Errorf("connected to %s, want %s", got, addr)
	}
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if x := r.exit(); x.Code != 0 {
		t.Errorf("exit %+v: %s", x, r.stderr)
	}
}

// testDialStops connects to what refuses, and to what never answers.
func (s *suite) testDialStops(t *testing.T) {
	r := s.run(t, "clogged", "9")
	r.ready()
	defer r.cell.Kill()
	if _, err := r.cell.Dial(t.Context(), "tcp", netip.MustParseAddrPort("127.0.0.1:10")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: got %v", err)
	}
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	addr := host.Addr().(*net.TCPAddr).AddrPort()
	if _, err := r.cell.Dial(t.Context(), "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the host's loopback from inside: got %v", err)
	}
	// A request that is given up must not become the next one's answer.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if conn, err := r.cell.Dial(ended, "udp", addr); err == nil {
			conn.Close()
		}
		conn, err := r.cell.Dial(t.Context(), "udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	const queue = 4 // more than a queue of length 0 takes
	for range queue {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		conn, err := r.cell.Dial(ctx, "tcp", netip.MustParseAddrPort("127.0.0.1:9"))
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	t.Error("a queue that is full took every connection")
}

func (s *suite) testSocketErrors(t *testing.T) {
	r := s.boot(t, s.plan("sleep"))
	defer r.cell.Kill()
	if _, err := r.cell.ListenUDP(netip.MustParseAddrPort("203.0.113.1:53")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("an address that the cell does not have: got %v", err)
	}
	first, err := r.cell.ListenUDP(netip.MustParseAddrPort("127.0.0.1:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := r.cell.ListenUDP(netip.MustParseAddrPort("127.0.0.1:53")); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address that is taken: got %v", err)
	}
	if _, err := r.cell.ListenUDP(netip.AddrPort{}); err == nil {
		t.Error("listens on no address")
	}
	r.cell.Kill()
	<-r.cell.Done()
	if _, err := r.cell.ListenTCP(netip.MustParseAddrPort("127.0.0.1:53")); err == nil {
		t.Error("listens in a cell that is gone")
	}
}

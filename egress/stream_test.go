package egress_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/testenv"
)

var literal = netip.MustParseAddrPort("203.0.113.10:8443")

// Each side closes its half when it likes; the other keeps its own.
func TestHalfClose(t *testing.T) {
	s := newStage(t, authority, names)
	s.serve("203.0.113.10:8443", func(c *net.TCPConn) {
		_ = c.CloseWrite() // before anything was read
		got, err := io.ReadAll(c)
		if err != nil || string(got) != "late" {
			t.Errorf("the server read %q, %v", got, err)
		}
	})
	c := s.dial(literal)
	if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
		t.Errorf("the client read %q, %v", got, err)
	}
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if f := s.flow(0); f.Sent != 4 || f.Received != 0 || f.Err != nil {
		t.Errorf("flow %+v", f)
	}
}

// Bytes arrive as they were sent, in both directions at once, in pieces of any
// size.
func TestStreamsAreWhole(t *testing.T) {
	total := 64 << 20
	if testing.Short() {
		total = 4 << 20
	}
	s := newStage(t, authority, names)
	write := func(c *net.TCPConn, seed uint64, sum hash.Hash) error {
		rng := rand.New(rand.NewPCG(seed, 0))
		block := make([]byte, 1<<18)
		for i := range block {
			block[i] = byte(rng.Uint32())
		}
		for left := total; left > 0; {
			n := min(left, 1+rng.IntN(len(block)))
			sum.Write(block[:n])
			if _, err := c.Write(block[:n]); err != nil {
				return err
			}
			left -= n
		}
		return c.CloseWrite()
	}
	both := func(c *net.TCPConn, seed uint64) (sent, got []byte, err error) {
		in, out := sha256.New(), sha256.New()
		var wg sync.WaitGroup
		var werr error
		wg.Go(func() { werr = write(c, seed, out) })
		_, err = io.Copy(in, c)
		wg.Wait()
		return out.Sum(nil), in.Sum(nil), errors.Join(err, werr)
	}
	var serverSent, serverGot []byte
	served := make(chan struct{})
	s.serve("203.0.113.10:8443", func(c *net.TCPConn) {
		defer close(served)
		var err error
		if serverSent, serverGot, err = both(c, 1); err != nil {
			t.Error(err)
		}
	})
	sent, got, err := both(s.dial(literal), 2)
	if err != nil {
		t.Fatal(err)
	}
	<-served
	if !bytes.Equal(sent, serverGot) || !bytes.Equal(got, serverSent) {
		t.Error("what arrived is not what was sent")
	}
	if f := s.flow(0); f.Sent != int64(total) || f.Received != int64(total) || f.Err != nil {
		t.Errorf("flow %+v", f)
	}
}

// A reset of either side is a reset for the other, and is on record.
func TestResetIsPassedOn(t *testing.T) {
	s := newStage(t, authority, names)
	told := make(chan error, 2)
	s.serve("203.0.113.10:8443", func(c *net.TCPConn) {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			told <- err
			return
		}
		if b[0] == 'r' {
			_ = c.SetLinger(0)
			c.Close()
			return
		}
		_, err := io.ReadFull(c, b[:])
		told <- err
	})
	c := s.dial(literal)
	if _, err := io.WriteString(c, "r"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client reads %v after the server has reset", err)
	}
	if f := s.flow(0); !errors.Is(f.Err, syscall.ECONNRESET) {
		t.Errorf("flow %+v", f)
	}
	c = s.dial(literal)
	if _, err := io.WriteString(c, "w"); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.decided) < 2 {
			return errors.New("not decided yet")
		}
		return nil
	})
	_ = c.SetLinger(0)
	c.Close()
	if err := <-told; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server reads %v after the client has reset", err)
	}
	if f := s.flow(1); !errors.Is(f.Err, syscall.ECONNRESET) {
		t.Errorf("flow %+v", f)
	}
}

// What a client had sent before it died is passed on when the cell ends, and
// connections that would go on for ever end.
func TestCloseDrains(t *testing.T) {
	s := newStage(t, authority, names)
	got := make(chan []byte, 1)
	s.serve("203.0.113.10:8443", func(c *net.TCPConn) {
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		got <- b
	})
	s.serve("203.0.113.11:8443", func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c) // until it is reset
	})
	idle := s.dial(netip.MustParseAddrPort("203.0.113.11:8443"))
	want := bytes.Repeat([]byte("last words "), 1<<14)
	c := s.dial(literal)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	c.Close() // perhaps before the relay has accepted it
	if err := s.close(); err != nil {
		t.Error(err)
	}
	select {
	case b := <-got:
		if !bytes.Equal(b, want) {
			t.Errorf("%d bytes of %d were passed on", len(b), len(want))
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was passed on")
	}
	if _, err := io.ReadAll(idle); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an idle connection ends with %v", err)
	}
	if len(s.ended) != 2 || len(s.decided) != 2 {
		t.Errorf("%d flows have ended, %d were decided", len(s.ended), len(s.decided))
	}
}

// Clients that read nothing, and more of them than there is room for, cost the
// relay little.
func TestManyConnections(t *testing.T) {
	// All four sockets of a connection are in this process.
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	total := min(10_000, int(files.Cur)-7*maxConns-500)
	if testing.Short() {
		total = 500
	}
	if total < 500 {
		t.Skipf("a limit of %d open files is too low", files.Cur)
	}
	s := newStage(t, authority, names)
	s.serve("203.0.113.10:8443", func(c *net.TCPConn) {
		block := make([]byte, 4096)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	before := heap()
	var open []net.Conn
	var reset int
	for range total {
		c, err := s.Connect(netip.AddrPort{}, literal)
		if err != nil {
			if reset++; reset == 1 || reset == 1000 {
				t.Log(err)
			}
			continue
		}
		open = append(open, c)
	}
	testenv.Eventually(t, 60*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.decided) < total {
			return fmt.Errorf("%d of %d are decided, %d have ended, %d failed at once", len(s.decided), total, len(s.ended), reset)
		}
		return nil
	})
	t.Logf("%d connections, %d reset at once, %d KiB more heap and stacks", total, reset, (heap()-before)>>10)
	for _, c := range open {
		c.Close()
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if len(s.ended) != total {
		t.Errorf("%d of %d flows are on record", len(s.ended), total)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

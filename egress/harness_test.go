package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cellos.io/cellos/egress"
	"cellos.io/cellos/egress/dnsproxy"
	"cellos.io/cellos/egress/egresstest"
	"cellos.io/cellos/egress/relay"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/plan"
)

func TestMain(m *testing.M) { os.Exit(egresstest.Main(m)) }

// zone is a resolver.
type zone map[string][]string

func (z zone) Resolve(_ context.Context, name string) ([]netip.Addr, error) {
	list, ok := z[name]
	if !ok {
		return nil, errors.New("no such name")
	}
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs, nil
}

// maxConns is what one process, which has all ends, has descriptors for.
const maxConns = 1000

// stage is a cell with its network, and the outside.
type stage struct {
	*egresstest.Cell
	t       testing.TB
	plan    *plan.Network
	names   *egress.Names
	network *egress.Network
	outside *egresstest.Outside
	close   func() error

	mu       sync.Mutex
	decided  []egress.Flow
	ended    []egress.Flow
	refused  []egress.Refusal
	unlogged uint64
	deny     error // what Decided returns
	quiet    bool  // nothing is kept
}

// newStageWith is a stage whose relay asks the proxy that answers its cell.
func newStageWith(t testing.TB, authority string) *stage {
	t.Helper()
	late := new(lateResolver)
	s := newStage(t, authority, late)
	late.proxy.Store(resolverFor(s, []string{"api.example.com", "*.example.org"}))
	return s
}

// lateResolver is a resolver that needs the stage which needs it.
type lateResolver struct {
	proxy atomic.Pointer[dnsproxy.Proxy]
}

func (l *lateResolver) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	return l.proxy.Load().Resolve(ctx, name)
}

func newStage(t testing.TB, authority string, z relay.Resolver) *stage {
	t.Helper()
	s := &stage{t: t, outside: egresstest.NewOutside(t), Cell: egresstest.NewCell(t), plan: egresstest.Plan(t, authority)}
	s.names = egress.NewNames(s.plan)
	var err error
	s.network, err = egress.Open(t.Context(), egress.Options{
		Cell: s.Cell, Plan: s.plan, Names: s.names, Resolver: z,
		Decided: func(f egress.Flow) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.quiet {
				s.decided = append(s.decided, f)
			}
			return s.deny
		},
		Ended: func(f egress.Flow) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.quiet {
				s.ended = append(s.ended, f)
			}
		},
		Refused: func(r egress.Refusal) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refused = append(s.refused, r)
		},
		Unlogged: func(n uint64) { s.unlogged += n },
		Failed:   func(err error) { t.Error(err) },
		MaxConns: maxConns,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.close = sync.OnceValue(func() error {
		for _, c := range s.network.UDP {
			c.Close()
		}
		for _, l := range s.network.TCP {
			l.Close()
		}
		return s.network.Close()
	})
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// bound is the address of a name in the cell.
func (s *stage) bound(name string, port uint16, v6 bool) netip.AddrPort {
	s.t.Helper()
	a4, a6, ok := s.names.Bind(name)
	if !ok {
		s.t.Fatalf("%s is not bound", name)
	}
	if v6 {
		return netip.AddrPortFrom(a6, port)
	}
	return netip.AddrPortFrom(a4, port)
}

// dial connects from inside the cell.
func (s *stage) dial(dst netip.AddrPort) *net.TCPConn {
	s.t.Helper()
	c, err := s.Connect(netip.AddrPort{}, dst)
	if err != nil {
		s.t.Fatalf("connect to %v: %v", dst, err)
	}
	s.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// outcome connects from inside the cell, reads to the end and returns the error
// of either.
func (s *stage) outcome(dst netip.AddrPort) error {
	c, err := s.Connect(netip.AddrPort{}, dst)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = io.ReadAll(c)
	return err
}

// serve answers every connection of a listener in the outside.
func (s *stage) serve(addr string, answer func(*net.TCPConn)) {
	s.t.Helper()
	l := s.outside.Listen(s.t, netip.MustParseAddrPort(addr))
	var wg sync.WaitGroup
	s.t.Cleanup(wg.Wait)
	s.t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				answer(c)
			})
		}
	})
}

// echo sends back what it gets, behind a word that says which server it is.
func echo(word string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		if _, err := io.WriteString(c, word); err == nil {
			_, _ = io.Copy(c, c)
		}
		_ = c.CloseWrite()
	}
}

// flow waits for the n-th flow to end.
func (s *stage) flow(n int) egress.Flow {
	s.t.Helper()
	var f egress.Flow
	testenv.Eventually(s.t, 20*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.ended) <= n {
			return errors.New("the flow has not ended")
		}
		f = s.ended[n]
		return nil
	})
	return f
}

package guard_test

import (
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/egress/egresstest"
	"cellos.io/cellos/egress/guard"
	"cellos.io/cellos/internal/testenv"
)

// The counter is exact however many are refused, and the log never has more.
func TestFloodIsCountedExactly(t *testing.T) {
	total := 1_000_000
	if testing.Short() || egresstest.Rootless() {
		total = 50_000
	}
	g := newGuarded(t, egresstest.Plan(t, someNames))
	const senders = 2
	var wg sync.WaitGroup
	for range senders {
		f, err := g.Make(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		to := &unix.SockaddrInet4{Port: 4433, Addr: [4]byte{203, 0, 113, 10}}
		wg.Go(func() {
			_ = raw.Control(func(fd uintptr) {
				for range total / senders {
					if err := unix.Sendto(int(fd), []byte("x"), 0, to); err != unix.EPERM {
						t.Errorf("send: %v", err)
						return
					}
				}
			})
		})
	}
	wg.Wait()
	counted, err := guard.Refused(g.nft)
	if err != nil {
		t.Fatal(err)
	}
	logged := len(g.refusals(t))
	t.Logf("%d sent, %d counted, %d logged", total, counted, logged)
	if counted != uint64(total) || logged > total || logged == 0 {
		t.Errorf("%d sent, %d counted, %d logged", total, counted, logged)
	}
}

// nft(8) lists the same for what we load as for the text of the plan.
func TestTextIsWhatIsLoaded(t *testing.T) {
	testenv.Need(t, "nft", "nsenter")
	n := egresstest.Plan(t, someNames)
	list := func(c *egresstest.Cell, script string, args ...string) string {
		enter := []string{"--user", "--net", "--target", strconv.Itoa(c.PID())}
		if egresstest.Rootless() {
			enter = append(enter, "--preserve-credentials")
		}
		cmd := exec.Command("nsenter", append(append(enter, "nft"), args...)...)
		if script != "" {
			cmd.Stdin = strings.NewReader(script)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nft %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	g := newGuarded(t, n)
	ours := list(g.Cell, "", "-nn", "list", "ruleset")
	c := egresstest.NewCell(t)
	list(c, n.Rules().Text(), "-f", "-")
	theirs := list(c, "", "-nn", "list", "ruleset")
	if ours != theirs {
		t.Errorf("loaded by us:\n%s\nloaded by nft:\n%s", ours, theirs)
	}
}

// Declared destinations pass the firewall: without a relay they find no
// socket, and are not counted as refused.
func TestDeclaredPasses(t *testing.T) {
	g := newGuarded(t, egresstest.Plan(t, someNames))
	for _, b := range g.plan.Bound {
		for _, a := range []netip.Addr{b.V4.Addr(), b.V6.Addr()} {
			if _, ok := g.plan.Locate(a); !ok {
				t.Errorf("%v is not located", a)
			}
		}
	}
	// It times out in the absence of a relay, so it is not waited for.
	f, err := g.Make(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		err = unix.Connect(int(fd), &unix.SockaddrInet4{Port: 443, Addr: g.plan.Bound[0].V4.Addr().As4()})
	})
	if err != unix.EINPROGRESS {
		t.Errorf("connect: %v", err)
	}
	if n, err := guard.Refused(g.nft); err != nil || n != 0 {
		t.Errorf("%d refused, %v", n, err)
	}
}

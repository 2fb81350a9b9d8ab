package dnsproxy

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// After Close nothing of the proxy is left: no descriptor, no goroutine.
func TestCloseLeavesNothing(t *testing.T) {
	up := startUpstream(t, zone(wwwA))
	silent := startUpstream(t, func(string, *dns.Msg) [][]byte { return nil })
	fds, goroutines := countFDs(t), runtime.NumGoroutine()
	t.Run("use", func(t *testing.T) {
		cfg := quick(silent.as("a", Do53UDP), silent.as("b", Do53TCP), up.as("c", Do53TCP), up.as("d", Do53UDP))
		pt := startProxy(t, cfg)
		for _, name := range []string{"www.example.", "a.wild.example.", "b.wild.example.", "evil.example."} {
			pt.ask("udp", question(name, dns.TypeA))
			pt.ask("tcp", question(name, dns.TypeA))
		}
	})
	// The fake upstreams, too, need a moment to see the end of a connection.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n, g := countFDs(t), runtime.NumGoroutine()
		if n <= fds && g <= goroutines {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d descriptors, were %d; %d goroutines, were %d:\n%s", n, fds, g, goroutines, buf[:runtime.Stack(buf, true)])
		}
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

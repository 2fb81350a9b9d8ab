package backendtest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// isolationTests are about what a workload must not reach.
func isolationTests(t *testing.T, s *suite) {
	if !s.harness.Isolated {
		t.Skip("the backend does not isolate")
	}
	t.Run("Canaries", s.testCanaries)
	t.Run("ForeignABI", s.testForeignABI)
	t.Run("HostUntouched", s.testHostUntouched)
}

// outside is what the probe is told about the host; see its canaries.
type outside struct {
	Files, Sockets, Abstract, Loopback []string
	Writable                           string
	PID                                int
}

// testCanaries puts things on the host and has a program with raw system calls
// look for them, and for what every host has.
func (s *suite) testCanaries(t *testing.T) {
	// Not below the directory that the cell sees.
	dir, err := os.MkdirTemp(hiddenDir(), "cellos-canary-")
	if err != nil {
		t.Skip("no place that a cell does not see: ", err)
	}
	defer os.RemoveAll(dir)
	o := outside{Writable: "/tmp", PID: os.Getpid(), Files: []string{dir}}
	if home, err := os.UserHomeDir(); err == nil && home != "/" {
		o.Files = append(o.Files, home)
	}
	path, name := filepath.Join(dir, "socket"), fmt.Sprintf("cellos-canary-%d", os.Getpid())
	for _, l := range []struct{ network, addr string }{{"unix", path}, {"unix", "@" + name}, {"tcp", "127.0.0.1:0"}} {
		listener, err := net.Listen(l.network, l.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if l.network == "tcp" {
			o.Loopback = append(o.Loopback, listener.Addr().String())
		}
	}
	o.Sockets, o.Abstract = []string{path}, []string{name}
	told, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	got := s.output(t, "canary", string(told))
	var reached []string
	for line := range strings.Lines(got) {
		if strings.HasPrefix(line, "reached") {
			reached = append(reached, strings.TrimSpace(line))
		}
	}
	if len(reached) > 0 {
		t.Errorf("a cell could:\n\t%s", strings.Join(reached, "\n\t"))
	}
	const least = 140
	var tried int
	if _, err := fmt.Sscanf(got[strings.LastIndex(got, "tried"):], "tried %d", &tried); err != nil || tried < least {
		t.Errorf("only %d attempts, want %d at least: %v", tried, least, err)
	}
}

// hiddenDir is a directory of the host in which this user may make another and
// of which a cell sees nothing.
func hiddenDir() string {
	if os.Geteuid() == 0 {
		return "/var/tmp"
	}
	return "/dev/shm"
}

// testForeignABI: the numbers of another ABI name other system calls.
func (s *suite) testForeignABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("one ABI only")
	}
	r := s.run(t, "foreign")
	if x := r.exit(); x.Signal != syscall.SIGSYS || r.stdout.String() != "" {
		t.Errorf("got %+v and %s", x, r.stdout)
	}
}

// testHostUntouched: the mounts of a cell do not appear on the host.
func (s *suite) testHostUntouched(t *testing.T) {
	before := hostMounts(t)
	r := s.run(t, "sleep")
	r.ready()
	if during := hostMounts(t); before != during {
		t.Errorf("the mounts of the host have changed:\n%s\nand were\n%s", during, before)
	}
	r.cell.Kill()
	r.exit()
}

// hostMounts are the mounts of this process, without those of other tests.
func hostMounts(t *testing.T) string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(table)) {
		if !strings.Contains(line, os.TempDir()) && !strings.Contains(line, "/cellos-") {
			b.WriteString(line)
		}
	}
	return b.String()
}

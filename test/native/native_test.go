// Package native runs native cells with the real binaries in a network with an
// outside of its own: servers behind a link, at addresses that are no special
// range. It checks what a workload can reach, and that the trail says so.
package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cellos.io/cellos/egress/egresstest"
	"cellos.io/cellos/internal/testenv"
)

// bin holds the binaries under test, where an ordinary user can run them.
var bin string

func TestMain(m *testing.M) {
	if egresstest.Rootless() {
		// The supervisor is started as an ordinary user here, by root: in a
		// user namespace of the tests it would take itself for root.
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "cellos-native-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = filepath.Join(dir, "bin")
	if given := os.Getenv("NATIVE_BIN"); given != "" {
		bin = given // the run in a network of its own
	} else {
		build := exec.Command("go", "build", "-trimpath", "-o", bin+"/", "cellos.io/cellos/cmd/cellos", "cellos.io/cellos/cmd/cellos-supervisor")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			os.Exit(1)
		}
		os.Setenv("NATIVE_BIN", bin)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := egresstest.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// ordinary is a user id with no privilege and no name.
const ordinary = 65533

// who runs the supervisor.
type who struct {
	name string
	uid  int
}

func users(t *testing.T) []who {
	t.Helper()
	testenv.Need(t, "netns", "userns", "python3")
	if os.Geteuid() != 0 {
		return []who{{"invoker", os.Geteuid()}}
	}
	return []who{{"root", 0}, {"ordinary", ordinary}}
}

// world is the outside with a name server and an echo server in it.
type world struct{ *egresstest.Outside }

// zone is what the name server knows.
var zone = map[string]map[uint16]string{
	"api.example.com.":     {dns.TypeA: "203.0.113.10", dns.TypeAAAA: "2001:db8::10"},
	"other.example.com.":   {dns.TypeA: "203.0.113.10"},
	"a.wild.example.com.":  {dns.TypeA: "203.0.113.10"},
	"private.example.com.": {dns.TypeA: "10.9.0.10"},
	"loop.example.com.":    {dns.TypeA: "127.0.0.1"},
}

func newWorld(t *testing.T) *world {
	w := &world{egresstest.NewOutside(t)}
	for _, addr := range []string{"203.0.113.10:8080", "[2001:db8::10]:8080", "203.0.113.11:9000", "10.9.0.10:8080"} {
		l := w.Listen(t, netip.MustParseAddrPort(addr))
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
	}
	conn := w.ListenUDP(t, netip.AddrPortFrom(egresstest.Server4, 53))
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return w
}

func answer(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg).SetReply(r)
	m.RecursionAvailable = true
	q := r.Question[0]
	records, known := zone[strings.ToLower(q.Name)]
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	if addr, ok := records[q.Qtype]; ok {
		rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN %s %s", q.Name, dns.TypeToString[q.Qtype], addr))
		if err == nil {
			m.Answer = []dns.RR{rr}
		}
	}
	_ = w.WriteMsg(m)
}

// outcome of a run.
type outcome struct {
	code           int
	stdout, stderr string
	events         []map[string]any
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", o.code, o.stdout, o.stderr)
}

// run runs a Python program in a native cell, under profile hardened.
func run(t *testing.T, u who, authority map[string]any, program string) outcome {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(bin), "site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, u.uid, u.uid); err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(map[string]any{
		"apiVersion": "cellos.io/v1", "kind": "ExecutionCell",
		"spec": map[string]any{
			"id": "native", "authority": authority, "lifetime": map[string]any{"ttlSeconds": 60},
			"run": map[string]any{"argv": []string{"/usr/bin/python3", "-c", program}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	spec := filepath.Join(dir, "cell.json")
	if err := os.WriteFile(spec, doc, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "cellos-supervisor"), spec)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "CELLOS_STATE_DIR=" + dir + "/state", "CELLOS_RUNTIME_DIR=" + dir + "/run",
		"CELLOS_JSONL_SINK_PATH=" + dir + "/events.jsonl",
	}
	cmd.Dir = "/"
	if os.Geteuid() == 0 && u.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	o := outcome{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		o.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	trail, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		t.Fatalf("%v\n%s", err, o)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(trail)), "\n") {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		o.events = append(o.events, e)
	}
	verify := exec.Command(filepath.Join(bin, "cellos"), "audit", "verify")
	verify.Env, verify.SysProcAttr = cmd.Env, cmd.SysProcAttr
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("audit verify: %v\n%s", err, out)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(left) != 0 {
		t.Errorf("the runtime directory has %v, %v", left, err)
	}
	return o
}

// event finds an event whose data has all the given values.
func (o outcome) event(suffix string, pairs ...any) bool {
	for _, e := range o.events {
		data, _ := e["data"].(map[string]any)
		if e["type"] != "dev.cellos.events.cell."+suffix {
			continue
		}
		match := true
		for i := 0; i < len(pairs); i += 2 {
			match = match && data[pairs[i].(string)] == pairs[i+1]
		}
		if match {
			return true
		}
	}
	return false
}

func (o outcome) wantEvent(t *testing.T, suffix string, pairs ...any) {
	t.Helper()
	if !o.event(suffix, pairs...) {
		t.Errorf("no %s event with %v\n%s", suffix, pairs, o)
	}
}

var resolvers = []any{map[string]string{"resolverId": "outside", "endpoint": "203.0.113.10:53", "protocol": "do53-udp"}}

func rule(host string, port int) map[string]any {
	return map[string]any{"host": host, "port": port, "protocol": "tcp"}
}

// prelude gives the programs one function: what happens when one connects and
// sends a line.
const prelude = `
import errno, socket, time
def attempt(host, port, family=0):
    start = time.monotonic()
    try:
        info = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        with socket.socket(info[0][0], socket.SOCK_STREAM) as s:
            s.settimeout(20)
            s.connect(info[0][4])
            s.sendall(b"hello\n")
            s.shutdown(socket.SHUT_WR)
            got = b""
            while chunk := s.recv(100):
                got += chunk
            result = "echo" if got == b"hello\n" else repr(got)
    except socket.gaierror as e:
        result = "gai"
    except OSError as e:
        result = errno.errorcode.get(e.errno, str(e))
    print(host, port, result, "slow" if time.monotonic() - start > 5 else "", flush=True)
`

func TestOnlyWhatIsDeclaredIsReached(t *testing.T) {
	for _, u := range users(t) {
		t.Run(u.name, func(t *testing.T) {
			newWorld(t)
			o := run(t, u, map[string]any{
				"dnsAuthority": map[string]any{"resolvers": resolvers},
				"egressRules": []any{
					rule("api.example.com", 8080), rule("*.wild.example.com", 8080), rule("203.0.113.11", 9000),
					rule("private.example.com", 8080), rule("loop.example.com", 8080), rule("gone.example.com", 8080),
				},
			}, prelude+`
attempt("api.example.com", 8080, socket.AF_INET)
attempt("api.example.com", 8080, socket.AF_INET6)
attempt("a.wild.example.com", 8080)
attempt("203.0.113.11", 9000)
attempt("api.example.com", 9000)
attempt("203.0.113.10", 8080)
attempt("2001:db8::10", 8080)
attempt("::ffff:203.0.113.10", 8080)
attempt("203.0.113.11", 8080)
attempt("other.example.com", 8080)
attempt("wild.example.com", 8080)
attempt("private.example.com", 8080)
attempt("loop.example.com", 8080)
attempt("gone.example.com", 8080)
attempt("169.254.169.254", 80)
attempt("10.9.0.10", 8080)
attempt("198.18.7.7", 8080)
`)
			want := `api.example.com 8080 echo
api.example.com 8080 echo
a.wild.example.com 8080 echo
203.0.113.11 9000 echo
api.example.com 9000 ECONNREFUSED
203.0.113.10 8080 ECONNREFUSED
2001:db8::10 8080 ECONNREFUSED
::ffff:203.0.113.10 8080 ECONNREFUSED
203.0.113.11 8080 ECONNREFUSED
other.example.com 8080 gai
wild.example.com 8080 gai
private.example.com 8080 gai
loop.example.com 8080 gai
gone.example.com 8080 gai
169.254.169.254 80 ECONNREFUSED
10.9.0.10 8080 ECONNREFUSED
198.18.7.7 8080 ECONNREFUSED
`
			if got := strings.ReplaceAll(o.stdout, " \n", "\n"); o.code != 0 || got != want {
				t.Errorf("got:\n%swant:\n%s%s", got, want, o)
			}
			o.wantEvent(t, "observability.v1.l7_egress_decision", "action", "allow", "name", "api.example.com", "ruleIndex", 0.0, "reasonCode", "l4_rule_match")
			o.wantEvent(t, "observability.v1.network_flow_decision", "action", "allow", "name", "api.example.com", "bytesSent", 6.0, "bytesReceived", 6.0)
			o.wantEvent(t, "observability.v1.network_flow_decision", "action", "deny", "name", "api.example.com", "reasonCode", "l4_rule_miss")
			o.wantEvent(t, "observability.v1.network_flow_decision", "action", "deny", "destination", "169.254.169.254:80")
			o.wantEvent(t, "observability.v1.dns_query", "queryName", "other.example.com", "reasonCode", "denied_not_in_allowlist")
			o.wantEvent(t, "observability.v1.dns_query", "queryName", "private.example.com", "reasonCode", "denied_rebinding")
			for _, e := range o.events {
				if e["type"] == "dev.cellos.events.cell.lifecycle.v1.started" {
					data := e["data"].(map[string]any)
					if digest, _ := data["networkRulesDigest"].(string); len(digest) != 64 || data["profile"] != "hardened" {
						t.Errorf("started: %v", data)
					}
				}
			}
		})
	}
}

// A name may lead into private space where the document says so.
func TestResponseAllowlist(t *testing.T) {
	u := users(t)[0]
	newWorld(t)
	o := run(t, u, map[string]any{
		"dnsAuthority": map[string]any{
			"resolvers":       resolvers,
			"rebindingPolicy": map[string]any{"responseIpAllowlist": []string{"10.9.0.0/24"}},
		},
		"egressRules": []any{rule("private.example.com", 8080)},
	}, prelude+`attempt("private.example.com", 8080)`)
	if o.code != 0 || !strings.HasPrefix(o.stdout, "private.example.com 8080 echo") {
		t.Error(o)
	}
}

// A cell without rules has no one to talk to, and its trail counts the tries.
func TestRefusalsAreCounted(t *testing.T) {
	for _, u := range users(t) {
		t.Run(u.name, func(t *testing.T) {
			const tries = 3000
			o := run(t, u, map[string]any{}, fmt.Sprintf(`
import socket
refused = 0
for i in range(%d):
    s = socket.socket()
    try:
        s.connect(("192.0.2.%%d" %% (i %% 50), 443))
    except ConnectionRefusedError:
        refused += 1
    s.close()
print(refused)
`, tries))
			if strings.TrimSpace(o.stdout) != fmt.Sprint(tries) {
				t.Fatal(o)
			}
			total := 0.0
			for _, e := range o.events {
				data, _ := e["data"].(map[string]any)
				if e["type"] == "dev.cellos.events.cell.observability.v1.network_flow_decision" && data["action"] == "deny" {
					count, _ := data["count"].(float64)
					total += count
				}
			}
			if total != tries {
				t.Errorf("%v refusals on record, %d happened", total, tries)
			}
		})
	}
}

// nothing of the host's network is visible: no interface, no listener.
func TestTheHostsLoopbackIsNotTheCells(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("the tests have no loopback of their own")
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for _, u := range users(t) {
		t.Run(u.name, func(t *testing.T) {
			o := run(t, u, map[string]any{}, prelude+fmt.Sprintf("attempt('127.0.0.1', %d)\nattempt('localhost', %d)", port, port))
			want := fmt.Sprintf("127.0.0.1 %d ECONNREFUSED \nlocalhost %d ECONNREFUSED \n", port, port)
			if o.code != 0 || o.stdout != want {
				t.Errorf("want %q\n%s", want, o)
			}
		})
	}
}

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// workloadVar makes the test binary a workload. Its value is what to do, the
// arguments are the marker of the run and what the deed needs.
const workloadVar = "E2E_WORKLOAD"

// runWorkload is what the test binary does inside a cell.
func runWorkload(deed string) int {
	args := os.Args[1:]
	switch deed {
	case "lookup":
		// Asks for two names, leaves an orphan in a session of its own, ends.
		orphan(args[0])
		for _, name := range args[1:] {
			answers, err := lookup(name)
			fmt.Println(name, answers, err)
		}
	case "orphan", "stubborn":
		if deed == "stubborn" {
			ignoreTerm()
		}
		orphan(args[0])
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "sleep":
		time.Sleep(time.Hour)
	}
	return 0
}

func ignoreTerm() { signal.Ignore(syscall.SIGTERM) }

// orphan starts a process that has left everything it could leave.
func orphan(marker string) {
	cmd := exec.Command("/proc/self/exe", marker)
	cmd.Env = []string{workloadVar + "=sleep"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println("orphan:", err)
	}
}

func lookup(name string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, "127.0.0.1:53")
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return resolver.LookupHost(ctx, name)
}

// dnsServer is a resolver outside the cell that answers A with 192.0.2.1 and
// remembers what it was asked.
type dnsServer struct {
	addr  string
	asked chan string
}

func startDNS(t *testing.T) *dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dnsServer{addr: conn.LocalAddr().String(), asked: make(chan string, 1024)}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
		select {
		case s.asked <- r.Question[0].Name:
		default:
		}
		if r.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.IPv4(192, 0, 2, 1),
			}}
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return s
}

func (s *dnsServer) names() (names []string) {
	for {
		select {
		case name := <-s.asked:
			names = append(names, name)
		default:
			return names
		}
	}
}

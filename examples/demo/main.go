// Command demo is both sides of the demonstration: the name server outside the
// cell and the program inside it. See run.sh.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const usage = `Usage:
  demo upstream PARENT               answer DNS on a free port of 127.0.0.1
                                     for as long as that process lives
  demo workload MARKER NAME [NAME…]  ask 127.0.0.1:53, as a program in a cell does
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "upstream":
		return serve(args[1])
	case len(args) >= 3 && args[0] == "workload":
		return work(args[1], args[2:])
	case len(args) == 2 && args[0] == "linger":
		time.Sleep(time.Hour)
		return nil
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("no such role")
}

// serve is a name server that knows an address for every name. It prints where
// it listens, then every name that it is asked for.
func serve(parent string) error {
	// The script that started this may be killed without a chance to clean up,
	// even before this line.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	if strconv.Itoa(os.Getppid()) != parent {
		return fmt.Errorf("process %s is gone", parent)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", conn.LocalAddr())
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	return server.ActivateAndServe()
}

// answer gives 192.0.2.1 (RFC 5737, for documentation) for any name.
func answer(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	fmt.Println("asked", strings.ToLower(strings.TrimSuffix(q.Name, ".")))
	if q.Qtype == dns.TypeA {
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   net.IPv4(192, 0, 2, 1),
		}}
	}
	_ = w.WriteMsg(reply)
}

// work asks for each name and leaves a process behind that tries to outlive
// the cell.
func work(marker string, names []string) error {
	for _, name := range names {
		line, err := lookup(name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", name, err)
		}
		fmt.Println(line)
	}
	orphan := exec.Command("/proc/self/exe", "linger", marker)
	orphan.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := orphan.Start(); err != nil {
		return err
	}
	fmt.Println("left a process behind, in a session of its own")
	return nil
}

// lookup asks the cell's resolver for the addresses of a name. With EDNS the
// resolver can say why it refuses (RFC 8914).
func lookup(name string) (string, error) {
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).SetEdns0(1232, false)
	client := dns.Client{Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(query, "127.0.0.1:53")
	if err != nil {
		return "", err
	}
	parts := []string{name, dns.RcodeToString[reply.Rcode]}
	for _, rr := range reply.Answer {
		if a, ok := rr.(*dns.A); ok {
			parts = append(parts, a.A.String())
		}
	}
	if opt := reply.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				parts = append(parts, fmt.Sprintf("(%s)", ede.ExtraText))
			}
		}
	}
	return strings.Join(parts, " "), nil
}

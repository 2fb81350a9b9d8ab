// Command demo is both sides of the demonstration: the servers outside the
// cell and the program inside it. See run.sh.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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
  demo outside PARENT                       answer DNS on a free port of 127.0.0.1, and
                                            connections on one of an address of this host,
                                            for as long as that process lives
  demo workload MARKER FILE SERVER NAME     do what a program in a cell may do, and what
                                            it may not. SERVER is a name and port, or a
                                            name alone that is looked up
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "outside":
		return serve(args[1])
	case len(args) == 5 && args[0] == "workload":
		return work(args[1], args[2], args[3], args[4])
	case len(args) == 2 && args[0] == "linger":
		time.Sleep(time.Hour)
		return nil
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("no such role")
}

// documentation is where names lead on a host that has no address of its own
// (RFC 5737). Nothing is connected to there.
var documentation = netip.MustParseAddr("192.0.2.1")

// serve is a name server that knows one address for every name, and a server
// there. It prints where they are, then every name that it is asked for.
func serve(parent string) error {
	// The script that started this may be killed without a chance to clean up,
	// even before this line.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	if strconv.Itoa(os.Getppid()) != parent {
		return fmt.Errorf("process %s is gone", parent)
	}
	addr := documentation
	if listener := listen(); listener != nil {
		at := listener.Addr().(*net.TCPAddr).AddrPort()
		addr = at.Addr().Unmap()
		fmt.Println("serving", addr, at.Port())
		go greet(listener)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening", conn.LocalAddr())
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		answer(w, query, addr)
	})}
	return server.ActivateAndServe()
}

// listen opens a port on an address of this host that is not loopback, which
// no name may lead to. Nil means that there is none.
func listen() net.Listener {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().Is4() || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if l, err := net.Listen("tcp", netip.AddrPortFrom(prefix.Addr(), 0).String()); err == nil {
			return l
		}
	}
	return nil
}

// greet says one line to everyone.
func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, "hello from outside")
		c.Close()
	}
}

func answer(w dns.ResponseWriter, query *dns.Msg, addr netip.Addr) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	fmt.Println("asked", strings.ToLower(strings.TrimSuffix(q.Name, ".")))
	if q.Qtype == dns.TypeA {
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   addr.AsSlice(),
		}}
	}
	_ = w.WriteMsg(reply)
}

// elsewhere is declared by nobody and belongs to nobody (RFC 5737).
const elsewhere = "203.0.113.9:443"

// work tries what is declared and what is not, with nothing but Go's standard
// library, and leaves a process behind that tries to outlive the cell.
func work(marker, file, server, stranger string) error {
	fmt.Printf("I am user %d\n", os.Getuid())
	if _, _, err := net.SplitHostPort(server); err == nil {
		fmt.Printf("connect %s: %s\n", server, outcome(connect(server)))
	} else {
		fmt.Printf("look up %s: %s\n", server, outcome(lookup(server)))
	}
	fmt.Printf("look up %s: %s\n", stranger, outcome(lookup(stranger)))
	fmt.Printf("connect %s: %s\n", elsewhere, outcome(connect(elsewhere)))
	_, err := os.ReadFile(file)
	fmt.Printf("read a file of the caller: %s\n", outcome("done", err))

	orphan := exec.Command("/proc/self/exe", "linger", marker)
	orphan.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := orphan.Start(); err != nil {
		return err
	}
	fmt.Println("left a process behind, in a session of its own")
	return nil
}

// connect returns what the server says.
func connect(server string) (string, error) {
	c, err := net.DialTimeout("tcp", server, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	return strings.TrimSpace(string(text)), err
}

func lookup(name string) (string, error) {
	addrs, err := net.LookupHost(name)
	return strings.Join(addrs, " "), err
}

// outcome is what a try came to: the reason alone, since what was tried is
// said already.
func outcome(done string, err error) string {
	var errno syscall.Errno
	var missing *net.DNSError
	switch {
	case err == nil:
		return done
	case errors.As(err, &missing):
		return missing.Err
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

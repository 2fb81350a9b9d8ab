package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/egress/guard"
	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/probe"
)

// Name is the name of the ability.
const Name = "firewall"

// Ability is the firewall and the transparent listener of a cell's network.
func Ability() probe.Ability {
	return probe.Ability{
		Name: Name, Means: "what is not declared is refused at connect()",
		Controls: []string{"egressL4"}, Needs: []string{probe.NetNamespace},
		Try: func(ctx context.Context) probe.Result {
			note, err := try(ctx)
			return probe.Judge(note, err,
				"in a container: run it with --cap-add NET_ADMIN --security-opt seccomp=unconfined",
				"modprobe -a nf_tables nft_tproxy nft_reject_inet nft_limit nft_log nft_objref nfnetlink_log nf_tproxy_ipv4 nf_tproxy_ipv6, or use a kernel that has them")
		},
	}
}

// document is a cell that may reach one name.
const document = `{"apiVersion": "cellos.io/v1", "kind": "ExecutionCell", "spec": {"id": "probe", "lifetime": {"ttlSeconds": 1},
	"authority": {"egressRules": [{"host": "probe.example", "port": 443, "protocol": "tcp"}]}}}`

// undeclared is an address that document does not let through: one of those
// for documentation (RFC 5737).
var undeclared = netip.MustParseAddrPort("203.0.113.1:443")

// errWrong is what a kernel that takes the rules and does not follow them is
// judged by.
const errWrong = unix.EINVAL

func try(ctx context.Context) (note string, err error) {
	n, err := probe.OpenNetwork(ctx)
	if err != nil {
		return "", err
	}
	defer n.Close()
	v6 := true
	if s, err := n.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0); err == nil {
		s.Close()
	} else {
		v6, note = false, "IPv4 only"
	}
	network, err := compile(v6)
	if err != nil {
		return "", err
	}
	nft, err := load(n, network)
	if err != nil {
		return "", err
	}
	defer nft.Close()
	if err := tryRefusal(ctx, n, nft); err != nil {
		return "", err
	}
	for _, family := range []struct {
		bound netip.Addr
		relay netip.AddrPort
	}{{network.Bound[0].V4.Addr(), network.Relay4}, {network.Bound[0].V6.Addr(), network.Relay6}} {
		if family.relay.IsValid() {
			if err := tryRelay(ctx, n, netip.AddrPortFrom(family.bound, 443), family.relay); err != nil {
				return "", err
			}
		}
	}
	return note, nil
}

// compile makes the plan of document's network.
func compile(v6 bool) (*plan.Network, error) {
	doc, err := cell.Parse("probe", []byte(document))
	if err != nil {
		return nil, err
	}
	p, _ := plan.Compile(doc, plan.Host{Profile: plan.Portable, Relay: true, IPv6: v6, Isolation: plan.Report{}})
	if p.Network == nil || len(p.Network.Bound) != 1 {
		return nil, errors.New("the plan has no address for the only name")
	}
	return p.Network, nil
}

// load configures the namespace and returns the socket of its firewall.
func load(n *probe.Network, network *plan.Network) (*netlink.Conn, error) {
	route, err := dial(n, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer route.Close()
	if err := guard.Configure(route, network); err != nil {
		return nil, probe.Step("configure lo", err)
	}
	nft, err := dial(n, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	if err := guard.Load(nft, network.Rules()); err != nil {
		nft.Close()
		return nil, probe.Step("load the firewall", err)
	}
	return nft, nil
}

func dial(n *probe.Network, protocol int) (*netlink.Conn, error) {
	f, err := n.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	if err != nil {
		return nil, err
	}
	return netlink.NewConn(f)
}

// tryRefusal connects to what is not declared.
func tryRefusal(ctx context.Context, n *probe.Network, nft *netlink.Conn) error {
	f, err := n.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	log, err := guard.OpenRefusals(f)
	if err != nil {
		return probe.Step("bind the log", err)
	}
	logged := make(chan guard.Refusal, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- log.Read(func(r guard.Refusal) {
			select {
			case logged <- r:
			default:
			}
		})
	}()
	// Closing wakes Read, which owns the buffers until it returns.
	defer func() { log.Close(); <-ended }()

	client, err := n.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := connect(ctx, client, undeclared); !errors.Is(err, unix.ECONNREFUSED) {
		return probe.Step("refuse a connection", fmt.Errorf("connect says %v (%w)", err, errWrong))
	}
	if count, err := guard.Refused(nft); err != nil || count != 1 {
		return probe.Step("count a refusal", errors.Join(fmt.Errorf("%d are counted (%w)", count, errWrong), err))
	}
	select {
	case <-logged:
		return nil
	case err := <-ended:
		ended <- err
		return probe.Step("log a refusal", err)
	case <-ctx.Done():
		return fmt.Errorf("a refusal was not logged: %w", ctx.Err())
	}
}

// tryRelay connects to a declared address and takes the connection at a
// transparent listener, which sees that address as its own.
func tryRelay(ctx context.Context, n *probe.Network, dst, relay netip.AddrPort) error {
	domain, level, option := unix.AF_INET, unix.SOL_IP, unix.IP_TRANSPARENT
	if dst.Addr().Is6() {
		domain, level, option = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	listener, err := n.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer listener.Close()
	fd := int(listener.Fd())
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return probe.Step("make a socket transparent", err)
	}
	if err := unix.Bind(fd, sockaddr(relay)); err != nil {
		return probe.Step("bind the relay's port", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return probe.Step("listen", err)
	}
	client, err := n.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := connect(ctx, client, dst); err != nil {
		return probe.Step("connect to a declared address", err)
	}
	if err := wait(ctx, fd, unix.POLLIN); err != nil {
		return probe.Step("accept a connection", err)
	}
	accepted, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return probe.Step("accept a connection", err)
	}
	defer unix.Close(accepted)
	own, err := unix.Getsockname(accepted)
	if err != nil {
		return probe.Step("ask for the original destination", err)
	}
	if got := addrPort(own); got != dst {
		return probe.Step("ask for the original destination", fmt.Errorf("it is %v, not %v (%w)", got, dst, errWrong))
	}
	return nil
}

// connect connects a socket that does not block and waits for the answer.
func connect(ctx context.Context, client *os.File, dst netip.AddrPort) error {
	fd := int(client.Fd())
	if err := unix.Connect(fd, sockaddr(dst)); err != unix.EINPROGRESS {
		return err
	}
	if err := wait(ctx, fd, unix.POLLOUT); err != nil {
		return err
	}
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = unix.Errno(errno)
	}
	return err
}

// step bounds how long wait does not look at its context. What it waits for
// happens on this host, so it takes no time worth mentioning.
const step = 10 // milliseconds

// wait waits for a socket.
func wait(ctx context.Context, fd int, events int16) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, step)
		switch {
		case n > 0:
			return nil
		case err != nil && err != unix.EINTR:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

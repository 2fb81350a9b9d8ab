package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// attemptDelay is when the next address is tried beside the ones that
	// have not answered (RFC 8305, section 8).
	attemptDelay = 250 * time.Millisecond
	// maxAttempts bounds the addresses that are tried.
	maxAttempts = 8
)

type dialFunc func(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error)

// dialFirst returns the first connection that any of the addresses gives: one
// after the other, the next when one fails or has not answered for a while
// (RFC 8305, without its sorting by history).
func dialFirst(ctx context.Context, dial dialFunc, addrs []netip.Addr, port uint16) (*net.TCPConn, error) {
	if len(addrs) == 1 {
		return dial(ctx, netip.AddrPortFrom(addrs[0], port))
	}
	addrs = interleave(addrs)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what is still being dialled
	type result struct {
		conn *net.TCPConn
		err  error
	}
	results := make(chan result)
	done := make(chan struct{})
	defer close(done)
	start := func(a netip.Addr) {
		go func() {
			c, err := dial(ctx, netip.AddrPortFrom(a, port))
			select {
			case results <- result{c, err}:
			case <-done:
				if c != nil {
					reset(c)
				}
			}
		}()
	}
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	start(addrs[0])
	next, pending := 1, 1
	var errs []error
	for pending > 0 {
		select {
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			pending--
			errs = append(errs, r.err)
		case <-timer.C:
		}
		if next < len(addrs) {
			start(addrs[next])
			next++
			pending++
			timer.Reset(attemptDelay)
		}
	}
	return nil, errors.Join(errs...)
}

// interleave alternates the families, IPv6 first, and keeps their order
// otherwise (RFC 8305, section 4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var v4, v6, out []netip.Addr
	for _, a := range addrs {
		if a.Is6() {
			v6 = append(v6, a)
		} else {
			v4 = append(v4, a)
		}
	}
	for i := 0; len(out) < min(len(addrs), maxAttempts); i++ {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) {
			out = append(out, v4[i])
		}
	}
	return out[:min(len(out), maxAttempts)]
}

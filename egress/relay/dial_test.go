package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestInterleave(t *testing.T) {
	got := interleave(addrs("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"))
	if want := addrs("2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	many := make([]netip.Addr, 100)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	if n := len(interleave(many)); n != maxAttempts {
		t.Errorf("%d addresses would be tried", n)
	}
}

// The first that answers wins, the next starts when one fails or is slow, and
// what comes late is closed.
func TestDialFirst(t *testing.T) {
	type answer struct {
		after time.Duration
		err   error
	}
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		answers map[string]answer
		want    string
		took    time.Duration
	}{
		"the first":          {map[string]answer{"::1": {10 * time.Millisecond, nil}, "192.0.2.1": {0, nil}}, "::1", 10 * time.Millisecond},
		"the first is slow":  {map[string]answer{"::1": {time.Second, nil}, "192.0.2.1": {10 * time.Millisecond, nil}}, "192.0.2.1", 260 * time.Millisecond},
		"the first fails":    {map[string]answer{"::1": {5 * time.Millisecond, refused}, "192.0.2.1": {10 * time.Millisecond, nil}}, "192.0.2.1", 15 * time.Millisecond},
		"all fail":           {map[string]answer{"::1": {5 * time.Millisecond, refused}, "192.0.2.1": {5 * time.Millisecond, refused}}, "", 10 * time.Millisecond},
		"nobody answers":     {map[string]answer{"::1": {time.Hour, nil}, "192.0.2.1": {time.Hour, nil}}, "", 10 * time.Second},
		"both, nearly":       {map[string]answer{"::1": {255 * time.Millisecond, nil}, "192.0.2.1": {time.Second, nil}}, "::1", 255 * time.Millisecond},
		"the last is slower": {map[string]answer{"::1": {400 * time.Millisecond, nil}, "192.0.2.1": {400 * time.Millisecond, nil}}, "::1", 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var won string
				dial := func(ctx context.Context, a netip.AddrPort) (*net.TCPConn, error) {
					x := tc.answers[a.Addr().String()]
					select {
					case <-time.After(x.after):
					case <-ctx.Done():
						return nil, ctx.Err()
					}
					if x.err == nil && won == "" {
						won = a.Addr().String()
					}
					return nil, x.err
				}
				began := time.Now()
				_, err := dialFirst(ctx, dial, addrs("192.0.2.1", "::1"), 443)
				if took := time.Since(began); took != tc.took {
					t.Errorf("it took %v, not %v", took, tc.took)
				}
				if won != tc.want || (err == nil) != (tc.want != "") {
					t.Errorf("%q won, not %q: %v", won, tc.want, err)
				}
			})
		})
	}
}

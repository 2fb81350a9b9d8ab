package guard

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/netlink"
	"cellos.io/cellos/plan"
)

// ErrDiffers is a firewall that is not the one that was loaded.
var ErrDiffers = errors.New("the kernel lists other rules than were loaded")

// Load creates the ruleset in one transaction, lists everything that is in the
// namespace then and compares. The socket is of NETLINK_NETFILTER in the
// namespace. After an error nothing may run in it.
func Load(c *netlink.Conn, rs plan.Ruleset) error {
	batch, err := encode(rs)
	if err != nil {
		return fmt.Errorf("translate firewall: %w", err)
	}
	sent, err := batch.Messages()
	if err != nil {
		return fmt.Errorf("translate firewall: %w", err)
	}
	if err := c.Grow(2 * len(sent)); err != nil {
		return fmt.Errorf("load firewall of %d bytes: %w", len(sent), err)
	}
	if err := c.Execute(batch); err != nil {
		return fmt.Errorf("load firewall: %w", err)
	}
	if err := Verify(c, rs); err != nil {
		return fmt.Errorf("read firewall back: %w", err)
	}
	return nil
}

// Verify lists the firewall of the namespace and compares it with the ruleset.
func Verify(c *netlink.Conn, rs plan.Ruleset) error {
	want, err := expected(rs)
	if err != nil {
		return err
	}
	got, err := listed(c)
	if err != nil {
		return err
	}
	w, g := want.text(), got.text()
	if w == g {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDiffers, firstDifference(w, g))
}

// expected is the canonical form of what encode sends.
func expected(rs plan.Ruleset) (*listing, error) {
	batch, err := encode(rs)
	if err != nil {
		return nil, err
	}
	sent, err := batch.Messages()
	if err != nil {
		return nil, err
	}
	var l listing
	for m, err := range netlink.Split(sent) {
		if err != nil {
			return nil, err
		}
		if m.Type>>8 == unix.NFNL_SUBSYS_NFTABLES {
			if err := l.add(m); err != nil {
				return nil, err
			}
		}
	}
	return &l, nil
}

// listed is the canonical form of all that the kernel has.
func listed(c *netlink.Conn) (*listing, error) {
	var l listing
	for _, typ := range []uint16{
		unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETOBJ, unix.NFT_MSG_GETSET, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE,
	} {
		if err := dump(c, typ, unix.NFPROTO_UNSPEC, nil, l.add); err != nil {
			return nil, err
		}
	}
	for _, s := range l.sets {
		err := dump(c, unix.NFT_MSG_GETSETELEM, s.family, func(b *netlink.Builder) {
			b.String(unix.NFTA_SET_ELEM_LIST_TABLE, s.table)
			b.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
		}, l.add)
		if err != nil {
			return nil, err
		}
	}
	return &l, nil
}

// dump lists objects of a kind.
func dump(c *netlink.Conn, typ uint16, family byte, which func(*netlink.Builder), each func(netlink.Message) error) error {
	var b netlink.Builder
	b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, []byte{family, unix.NFNETLINK_V0, 0, 0})
	if which != nil {
		which(&b)
	}
	return c.Request(&b, each)
}

// firstDifference shows the first line in which two texts differ.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("%q was loaded, %q is listed", a, b)
		}
	}
	return "none"
}

// Refused is how many packets the firewall has refused.
func Refused(c *netlink.Conn) (packets uint64, err error) {
	var b netlink.Builder
	b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETOBJ, unix.NLM_F_REQUEST|unix.NLM_F_ACK,
		[]byte{nfProtoInet, unix.NFNETLINK_V0, 0, 0})
	b.String(unix.NFTA_OBJ_TABLE, plan.TableName)
	b.String(unix.NFTA_OBJ_NAME, plan.CounterRefused)
	b.BE32(unix.NFTA_OBJ_TYPE, objCounter)
	found := false
	err = c.Request(&b, func(m netlink.Message) error {
		if len(m.Data) < genLen {
			return netlink.ErrMessage
		}
		n := netlink.Attr(netlink.Attr(m.Data[genLen:], unix.NFTA_OBJ_DATA), unix.NFTA_COUNTER_PACKETS)
		if len(n) != 8 {
			return netlink.ErrMessage
		}
		packets, found = be.Uint64(n), true
		return nil
	})
	if err == nil && !found {
		err = netlink.ErrMessage
	}
	if err != nil {
		return 0, fmt.Errorf("read the counter of refusals: %w", err)
	}
	return packets, nil
}

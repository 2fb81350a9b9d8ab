// Package account follows the trail of one run while it is written, and says
// at its end what the run came to: how long it took, what it used, which names
// it was allowed and refused. It reads the signed records themselves, so it
// cannot say anything that an auditor would not find.
package account

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"cellos.io/cellos/event"
)

// maxNames bounds how many names of each kind are remembered: a hostile
// workload asks for as many as it likes.
const maxNames = 256

// Account is a sink of records. Its zero value is ready, and safe for
// concurrent use.
type Account struct {
	mu                     sync.Mutex
	completed              *event.CommandCompleted
	resolved, unresolved   names
	connected, unconnected names
}

// names are counts by name, in the order of their first occurrence.
type names struct {
	order []string
	count map[string]int64
	more  int64 // observations of names that were too many to remember
}

func (n *names) add(name string, count int64) {
	if _, known := n.count[name]; !known {
		if len(n.order) == maxNames {
			n.more += count
			return
		}
		if n.count == nil {
			n.count = make(map[string]int64)
		}
		n.order = append(n.order, name)
	}
	n.count[name] += count
}

// Name implements sink.Sink.
func (*Account) Name() string { return "summary" }

// Close implements sink.Sink.
func (*Account) Close() error { return nil }

// The types that are read. A record is taken apart only if it has one: the
// others are most of a short run, and its start waits for them.
var (
	typeCompleted  = event.CommandCompleted{}.EventType()
	typeQuery      = event.DNSQuery{}.EventType()
	typeConnection = event.L7EgressDecision{}.EventType()
	typeFlow       = event.NetworkFlowDecision{}.EventType()
)

var read = [][]byte{[]byte(typeCompleted), []byte(typeQuery), []byte(typeConnection), []byte(typeFlow)}

// Write implements sink.Sink. What cannot be read is no concern of a summary.
func (a *Account) Write(record []byte) error {
	if !slices.ContainsFunc(read, func(typ []byte) bool { return bytes.Contains(record, typ) }) {
		return nil
	}
	r, err := event.ParseRecord(bytes.TrimSuffix(record, []byte("\n")))
	if err != nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Type {
	case typeCompleted:
		var c event.CommandCompleted
		if r.Decode(&c) == nil {
			a.completed = &c
		}
	case typeQuery:
		var q event.DNSQuery
		if r.Decode(&q) == nil {
			count(&a.resolved, &a.unresolved, q.Decision, strings.TrimSuffix(q.QueryName, "."), q.Count)
		}
	case typeConnection, typeFlow:
		var d destination
		// A connection is decided once and a flow when it ends; only what
		// the firewall refused, in packets, was no connection.
		if r.Decode(&d) == nil && (r.Type == typeConnection || d.Packets > 0) {
			count(&a.connected, &a.unconnected, d.Action, d.text(), d.Count)
		}
	}
	return nil
}

// destination is what events about connections and flows have in common.
type destination struct {
	Destination string // address and port, as the workload sees it
	Name        string
	Protocol    string // of a flow; connections are TCP
	Action      string
	Packets     int64
	Count       int64
}

// text is the destination as a person names it.
func (d *destination) text() string {
	text := d.Destination
	if addr, err := netip.ParseAddrPort(d.Destination); err == nil && d.Name != "" {
		text = fmt.Sprintf("%s:%d", d.Name, addr.Port())
	}
	if text != "" && d.Protocol != "" && d.Protocol != "tcp" {
		text += "/" + d.Protocol
	}
	return text
}

// count counts a decision about a name; about which one is not known where
// there were too many.
func count(allowed, refused *names, decision, name string, n int64) {
	list := refused
	if decision == event.Allow {
		list = allowed
	}
	if name == "" {
		list.more += n
		return
	}
	list.add(name, n)
}

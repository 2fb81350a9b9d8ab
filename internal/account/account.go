// Package account follows the trail of one run while it is written, and says
// at its end what the run came to: how long it took, what it used, which names
// it was allowed and refused. It reads the signed records themselves, so it
// cannot say anything that an auditor would not find.
package account

import (
	"bytes"
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
	mu               sync.Mutex
	completed        *event.CommandCompleted
	allowed, refused names
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
	typeCompleted = event.CommandCompleted{}.EventType()
	typeQuery     = event.DNSQuery{}.EventType()
)

// Write implements sink.Sink. What cannot be read is no concern of a summary.
func (a *Account) Write(record []byte) error {
	if !bytes.Contains(record, []byte(typeCompleted)) && !bytes.Contains(record, []byte(typeQuery)) {
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
			a.decided(strings.TrimSuffix(q.QueryName, "."), q.Decision, q.Count)
		}
	}
	return nil
}

// decided counts a decision about a name; about which one is not known where
// there were too many.
func (a *Account) decided(name, decision string, count int64) {
	list := &a.refused
	if decision == event.Allow {
		list = &a.allowed
	}
	if name == "" {
		list.more += count
		return
	}
	list.add(name, count)
}

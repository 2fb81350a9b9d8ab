package account_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/account"
	"cellos.io/cellos/journal"
	"cellos.io/cellos/sink"
)

// record writes events to a trail whose records go to an account.
func record(t *testing.T, envelope event.Envelope, data ...event.Data) *account.Account {
	t.Helper()
	a := new(account.Account)
	j, err := journal.Open(journal.Options{Dir: t.TempDir(), Host: "h", Instance: "1", Signer: event.Unsigned, Envelope: envelope, Mirrors: []sink.Sink{a}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	run, err := j.OpenRun(journal.RunSpec{Scope: event.Scope{SpecID: "s", CellID: "c", RunID: event.NewID(time.Now())}})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for _, d := range data {
		if _, err := run.Emit(d); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func query(name, kind, decision string, count int64) event.Data {
	return event.DNSQuery{QueryName: name, QueryType: kind, Decision: decision}.WithTally(event.Tally{Count: count})
}

func TestSummary(t *testing.T) {
	code := 3
	events := []event.Data{
		query("a.example", "A", event.Allow, 1), query("a.example", "AAAA", event.Allow, 1),
		query("evil.example", "A", event.Deny, 1), query("b.example", "A", event.Allow, 1),
		query("evil.example", "A", event.Deny, 11), query("", "", event.Deny, 40),
		event.CommandCompleted{Argv: []string{"x"}, ExitCode: &code, DurationMs: 1234, Usage: &event.Usage{CPUMicros: 400_400, MemoryPeakBytes: 38 << 20}},
	}
	want := `ran for 1.23s, with 400ms of CPU and 38 MiB of memory at most
names resolved: a.example (2 times), b.example
names refused: evil.example (12 times), others (40 times)
the trail is in the journal; to verify it: cellos audit verify '/var/lib/x y.jsonl'`
	for _, envelope := range []event.Envelope{event.Flat, event.Wrapped} {
		s := record(t, envelope, events...).Summary()
		s.Journal = "/var/lib/x y.jsonl"
		if got := strings.Join(s.Lines(), "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// A program that never ran used nothing, and nothing is said about it.
func TestNothingRan(t *testing.T) {
	s := record(t, event.Flat, event.CommandCompleted{Argv: []string{"x"}, SpawnError: "no such file"}).Summary()
	if s.Ran != nil || len(s.Lines()) != 0 {
		t.Errorf("got %q", s.Lines())
	}
}

// A workload that asks for ever new names costs no more memory, and none of
// its questions is lost.
func TestNamesAreBounded(t *testing.T) {
	const asked = 1000
	var events []event.Data
	for i := range asked {
		events = append(events, query(fmt.Sprintf("n%d.example", i), "A", event.Deny, 2))
	}
	s := record(t, event.Flat, events...).Summary()
	total := s.Unresolved.More
	for _, n := range s.Unresolved.Names {
		total += n.Count
	}
	if total != 2*asked || len(s.Unresolved.Names) >= asked/2 {
		t.Errorf("%d names, %d questions; want %d", len(s.Unresolved.Names), total, 2*asked)
	}
}

// What is no record is not taken for one, and is nobody's failure.
func TestForeignLines(t *testing.T) {
	var a account.Account
	for _, line := range []string{"", "{", `{"type":"dev.cellos.events.cell.observability.v1.dns_query"}`} {
		if err := a.Write([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	if len(a.Summary().Resolved.Names)+len(a.Summary().Unresolved.Names) != 0 {
		t.Error("something was counted")
	}
}

// A connection is counted when it is decided, not again when it ends; what the
// firewall refuses never was one.
func TestConnections(t *testing.T) {
	once, often := event.Tally{Count: 1}, event.Tally{Count: 7}
	connection := func(dst, name, action string) event.Data {
		return event.L7EgressDecision{Destination: dst, Name: name, Action: action, Tally: once}
	}
	flow := func(protocol, dst, name, action string, packets int64, tally event.Tally) event.Data {
		return event.NetworkFlowDecision{Protocol: protocol, Destination: dst, Name: name, Action: action, Packets: packets, Tally: tally}
	}
	s := record(t, event.Flat,
		connection("198.18.0.20:443", "a.example", event.Allow),
		flow("tcp", "198.18.0.20:443", "a.example", event.Allow, 0, once),
		connection("198.18.0.21:22", "b.example", event.Deny),
		flow("tcp", "198.18.0.21:22", "b.example", event.Deny, 0, once),
		flow("tcp", "203.0.113.5:25", "", event.Deny, 7, often),
		flow("udp", "[2001:db8::1]:123", "", event.Deny, 1, once),
		flow("", "", "", event.Deny, 1000, event.Tally{Count: 1000}),
	).Summary()
	s.Ran = nil
	want := `connections allowed: a.example:443
connections refused: b.example:22, 203.0.113.5:25 (7 times), [2001:db8::1]:123/udp, others (1000 times)`
	if got := strings.Join(s.Lines(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

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
allowed: a.example (2 times), b.example
refused: evil.example (12 times), others (40 times)
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
	total := s.Refused.More
	for _, n := range s.Refused.Names {
		total += n.Count
	}
	if total != 2*asked || len(s.Refused.Names) >= asked/2 {
		t.Errorf("%d names, %d questions; want %d", len(s.Refused.Names), total, 2*asked)
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
	if len(a.Summary().Allowed.Names)+len(a.Summary().Refused.Names) != 0 {
		t.Error("something was counted")
	}
}

package journal

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cellos.io/cellos/event"
)

// The bytes of all flows with one key add up to what was transferred, whether
// they are counted at once, in a second, or under the rest.
func TestAggregatorSums(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, flows int64
		emit := func(d event.Data) error {
			flow := d.(event.NetworkFlowDecision)
			sent += flow.BytesSent
			flows += flow.Count
			return nil
		}
		a := newAggregator(emit, emit)
		observe := func(name string, bytes int64) {
			t.Helper()
			err := a.Observe(Key{Type: "flow", Name: name}, func() event.Counted {
				return event.NetworkFlowDecision{Name: name, BytesSent: bytes}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		var wantSent, wantFlows int64
		for i := range int64(3 * maxKeys) {
			name := fmt.Sprint(i % (maxKeys + 100))
			observe(name, i)
			wantSent += i
			wantFlows++
			if i%500 == 0 {
				time.Sleep(flushEvery)
				synctest.Wait()
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if sent != wantSent || flows != wantFlows {
			t.Errorf("%d bytes in %d flows on record, %d in %d observed", sent, flows, wantSent, wantFlows)
		}
	})
}

// What the journal refused is in the closing event, once.
func TestAggregatorSumsWhatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("full")
		fail := false
		var sent int64
		count := func(d event.Data) { sent += d.(event.NetworkFlowDecision).BytesSent }
		a := newAggregator(func(d event.Data) error {
			if fail {
				return full
			}
			count(d)
			return nil
		}, func(d event.Data) error { count(d); return nil })
		observe := func(name string, bytes int64) error {
			return a.Observe(Key{Type: "flow", Name: name}, func() event.Counted {
				return event.NetworkFlowDecision{Name: name, BytesSent: bytes}
			})
		}
		for _, name := range []string{"a", "b", "a", "a"} {
			if err := observe(name, 10); err != nil {
				t.Fatal(err)
			}
		}
		fail = true
		if err := observe("c", 100); !errors.Is(err, full) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(2 * flushEvery)
		synctest.Wait()
		if err := a.Close(); !errors.Is(err, full) {
			t.Fatalf("got %v", err)
		}
		if sent != 140 {
			t.Errorf("%d bytes on record, want 140", sent)
		}
	})
}

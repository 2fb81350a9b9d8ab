package probe

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cellos.io/cellos/plan"
)

// fake is an ability with a fixed answer that counts how often it is tried.
func fake(name string, answer Answer, tried *int32, needs ...string) Ability {
	return Ability{Name: name, Needs: needs, Try: func(context.Context) Result {
		atomic.AddInt32(tried, 1)
		return Result{Answer: answer, Detail: "as told"}
	}}
}

func TestRunAnswersInTheOrderOfTheNames(t *testing.T) {
	var n int32
	p := New(fake("a", Works, &n), fake("b", Unsupported, &n), fake("c", Works, &n))
	got := p.Run(t.Context(), "c", "b", "nothing")
	for i, want := range []Result{{"c", Works, "as told", ""}, {"b", Unsupported, "as told", ""}, {"nothing", Unknown, "no probe has this name", ""}} {
		if got[i] != want {
			t.Errorf("result %d is %+v, want %+v", i, got[i], want)
		}
	}
	if n != 2 {
		t.Errorf("%d abilities were tried, want 2", n)
	}
}

func TestWhatIsNeededDecides(t *testing.T) {
	for _, answer := range []Answer{Unsupported, Unknown} {
		var base, above int32
		p := New(fake("base", answer, &base), fake("middle", Works, &above, "base"), fake("top", Works, &above, "middle"))
		got := p.Run(t.Context(), "middle", "top")
		if got[0] != (Result{"middle", answer, "needs base", ""}) || got[1] != (Result{"top", answer, "needs middle", ""}) {
			t.Errorf("base %s: %+v", answer, got)
		}
		if base != 1 || above != 0 {
			t.Errorf("base %s: tried %d times, what needs it %d times; want 1 and 0", answer, base, above)
		}
	}
}

func TestOnlyCertainAnswersAreRemembered(t *testing.T) {
	var yes, no, maybe int32
	p := New(fake("yes", Works, &yes), fake("no", Unsupported, &no), fake("maybe", Unknown, &maybe))
	for range 3 {
		p.Run(t.Context())
	}
	if yes != 1 || no != 1 || maybe != 3 {
		t.Errorf("tried works %d, unsupported %d, unknown %d times; want 1, 1, 3", yes, no, maybe)
	}
}

func TestAProbeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cleaned bool
		stuck := make(chan struct{})
		p := New(
			Ability{Name: "obeys", Try: func(ctx context.Context) Result {
				<-ctx.Done()
				cleaned = true
				return Result{Answer: Works}
			}},
			Ability{Name: "hangs", Try: func(context.Context) Result {
				<-stuck
				return Result{Answer: Works}
			}},
		)
		start := time.Now()
		for _, r := range p.Run(t.Context()) {
			if r.Answer != Unknown || r.Detail != "no answer within 1s" {
				t.Errorf("%+v", r)
			}
		}
		if took := time.Since(start); took != DefaultTimeout+grace {
			t.Errorf("took %v", took)
		}
		if !cleaned {
			t.Error("Run returned before a probe that was stopped had cleaned up")
		}
		close(stuck)
	})
}

func TestAStoppedRunSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var n int32
	abilities := make([]Ability, 0, 2*parallel)
	for range cap(abilities) {
		abilities = append(abilities, fake(strings.Repeat("x", len(abilities)+1), Works, &n))
	}
	for _, r := range New(abilities...).Run(ctx) {
		if r.Answer == Unsupported {
			t.Errorf("%+v", r)
		}
	}
}

func TestProbesRunSideBySideButNotAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		abilities := make([]Ability, 3*parallel)
		for i := range abilities {
			abilities[i] = Ability{Name: strings.Repeat("x", i+1), Try: func(context.Context) Result {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(100 * time.Millisecond) // of the bubble's time
				now.Add(-1)
				return Result{Answer: Works}
			}}
		}
		start := time.Now()
		New(abilities...).Run(t.Context())
		if most.Load() > parallel || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%d at once, in %v", most.Load(), time.Since(start))
		}
	})
}

func TestNewRefusesCircles(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an ability may need a later one")
		}
	}()
	New(Ability{Name: "a", Needs: []string{"b"}}, Ability{Name: "b"})
}

func TestConfirm(t *testing.T) {
	on := plan.Control{State: plan.Enforced, By: "the backend"}
	off := plan.Control{State: plan.Unavailable, By: "the backend"}
	abilities := []Ability{
		{Name: "one", Controls: []string{"network", "dns"}},
		{Name: "two", Controls: []string{"dns", "seccomp"}},
	}
	for _, test := range []struct {
		name     string
		one, two Answer
		want     map[string]plan.State
	}{
		{"all works", Works, Works, map[string]plan.State{"network": plan.Enforced, "dns": plan.Enforced, "seccomp": plan.Unavailable, "ttl": plan.Enforced}},
		{"one is missing", Unsupported, Works, map[string]plan.State{"network": plan.Unavailable, "dns": plan.Unavailable, "seccomp": plan.Unavailable, "ttl": plan.Enforced}},
		{"two is unknown", Works, Unknown, map[string]plan.State{"network": plan.Enforced, "dns": plan.Unknown, "seccomp": plan.Unavailable, "ttl": plan.Enforced}},
		{"unknown and missing", Unknown, Unsupported, map[string]plan.State{"network": plan.Unknown, "dns": plan.Unavailable, "seccomp": plan.Unavailable, "ttl": plan.Enforced}},
	} {
		report := plan.Report{"network": on, "dns": on, "seccomp": off, "ttl": on}
		got := Confirm(report, abilities, []Result{{Name: "one", Answer: test.one}, {Name: "two", Answer: test.two}, {Name: "other", Answer: Unsupported}})
		for control, state := range test.want {
			if got[control].State != state {
				t.Errorf("%s: %s is %+v, want %s", test.name, control, got[control], state)
			}
		}
		if report["dns"] != on {
			t.Errorf("%s: the backend's own report was changed", test.name)
		}
	}
}

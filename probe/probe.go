package probe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Answer is what a probe found out.
type Answer string

// The three answers.
const (
	Works       Answer = "works"
	Unsupported Answer = "unsupported"
	Unknown     Answer = "unknown"
)

// A Result is the answer for one ability.
type Result struct {
	Name   string `json:"name"`
	Answer Answer `json:"answer"`
	// Detail is how well it works, what refused it, or why nobody knows.
	Detail string `json:"detail,omitempty"`
	// Remedy is what to do: a setting, a flag, a package, word for word.
	Remedy string `json:"remedy,omitempty"`
}

// An Ability is something that a host may be able to do.
type Ability struct {
	Name string
	// Means says in a few words what a cell has by it.
	Means string
	// Controls are the controls of an isolation report that rest on it.
	Controls []string
	// Needs are abilities without which there is nothing to try.
	Needs []string
	// Quick is true if trying is a few system calls that cannot wait for
	// anything: no process, no file system but the kernel's own.
	Quick bool
	// Try finds the answer. It returns soon after ctx is done.
	Try func(ctx context.Context) Result
}

// Limits of a Prober.
const (
	// DefaultTimeout is how long one probe may take.
	DefaultTimeout = time.Second
	// parallel is how many run at once. They wait more than they compute.
	parallel = 4
)

// A Prober asks for abilities and remembers the answers that are certain.
type Prober struct {
	// Timeout is how long one probe may take; zero is DefaultTimeout.
	Timeout time.Duration

	abilities []Ability
	known     sync.Map // name → Result
}

// New returns a Prober of these abilities. An ability may only need others
// that stand before it.
func New(abilities ...Ability) *Prober {
	for i, a := range abilities {
		for _, need := range a.Needs {
			if find(abilities[:i], need) == nil {
				panic(fmt.Sprintf("probe: %s needs %s, which is not before it", a.Name, need))
			}
		}
	}
	return &Prober{abilities: abilities}
}

func find(abilities []Ability, name string) *Ability {
	i := slices.IndexFunc(abilities, func(a Ability) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &abilities[i]
}

// Abilities returns what the Prober can be asked for, in order.
func (p *Prober) Abilities() []Ability { return slices.Clone(p.abilities) }

// Run returns the answers for the named abilities, or for all of them, in the
// order of the names. It returns within the time of one probe for each link of
// the longest chain of needs, or soon after ctx is done.
func (p *Prober) Run(ctx context.Context, names ...string) []Result {
	if len(names) == 0 {
		for _, a := range p.abilities {
			names = append(names, a.Name)
		}
	}
	r := &round{prober: p, slots: make(chan struct{}, parallel), answers: map[string]func() Result{}}
	for i := range p.abilities {
		a := &p.abilities[i]
		r.answers[a.Name] = sync.OnceValue(func() Result { return r.ask(ctx, a) })
	}
	results := make([]Result, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		answer, ok := r.answers[name]
		if !ok {
			results[i] = Result{Name: name, Answer: Unknown, Detail: "no probe has this name"}
			continue
		}
		if find(p.abilities, name).Quick {
			results[i] = answer()
			continue
		}
		all.Go(func() { results[i] = answer() })
	}
	all.Wait()
	return results
}

// A round is one Run: each ability is tried once, whoever needs it.
type round struct {
	prober  *Prober
	slots   chan struct{}
	answers map[string]func() Result
}

func (r *round) ask(ctx context.Context, a *Ability) Result {
	if known, ok := r.prober.known.Load(a.Name); ok {
		return known.(Result)
	}
	for _, need := range a.Needs {
		if answer := r.answers[need](); answer.Answer != Works {
			return Result{Name: a.Name, Answer: answer.Answer, Detail: "needs " + need}
		}
	}
	if a.Quick {
		return r.prober.remember(a.Name, a.Try(ctx))
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return Result{Name: a.Name, Answer: Unknown, Detail: "was not tried: " + ctx.Err().Error()}
	}
	return r.prober.remember(a.Name, r.prober.try(ctx, a))
}

// remember names a result and keeps it if it is certain.
func (p *Prober) remember(name string, result Result) Result {
	result.Name = name
	if result.Answer != Unknown {
		p.known.Store(name, result)
	}
	return result
}

// try bounds the time of one probe, whatever the probe does.
func (p *Prober) try(ctx context.Context, a *Ability) Result {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := make(chan Result, 1)
	go func() { answer <- a.Try(ctx) }()
	select {
	case result := <-answer:
		return result
	case <-ctx.Done():
	}
	// A probe that can be stopped is, and cleans up after itself.
	select {
	case <-answer:
	case <-time.After(grace):
	}
	return Result{Answer: Unknown, Detail: fmt.Sprintf("no answer within %v", timeout)}
}

// grace is how long a probe that was stopped may take to clean up. One that
// hangs in the kernel is left to its fate.
const grace = 200 * time.Millisecond

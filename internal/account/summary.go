package account

import (
	"fmt"
	"strings"
	"time"
)

// Summary is what a run came to.
type Summary struct {
	// Ran is nil if no program was started.
	Ran *Ran `json:"ran,omitempty"`
	// Resolved are the names that were asked for and allowed, Unresolved
	// those that were refused.
	Resolved   Names `json:"resolved"`
	Unresolved Names `json:"unresolved"`
	// Connected are the destinations that were allowed, Unconnected those
	// that were refused.
	Connected   Names `json:"connected"`
	Unconnected Names `json:"unconnected"`
	// Journal is the file with the trail of the run.
	Journal string `json:"journal,omitempty"`
}

// Ran is what a program used.
type Ran struct {
	DurationMs      int64 `json:"durationMs"`
	CPUMicros       int64 `json:"cpuMicros"`
	MemoryPeakBytes int64 `json:"memoryPeakBytes"`
}

// Names are names in the order in which they were first asked for.
type Names struct {
	Names []Name `json:"names"`
	// More is how often names were asked for that are not listed.
	More int64 `json:"more,omitempty"`
}

// Name is how often one name was asked for.
type Name struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Summary is the state of the account.
func (a *Account) Summary() *Summary {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &Summary{
		Resolved: a.resolved.list(), Unresolved: a.unresolved.list(),
		Connected: a.connected.list(), Unconnected: a.unconnected.list(),
	}
	if c := a.completed; c != nil && c.SpawnError == "" {
		s.Ran = &Ran{DurationMs: c.DurationMs}
		if c.Usage != nil {
			s.Ran.CPUMicros, s.Ran.MemoryPeakBytes = c.Usage.CPUMicros, c.Usage.MemoryPeakBytes
		}
	}
	return s
}

func (n *names) list() Names {
	list := Names{Names: []Name{}, More: n.more}
	for _, name := range n.order {
		list.Names = append(list.Names, Name{name, n.count[name]})
	}
	return list
}

// Lines is the summary for a person.
func (s *Summary) Lines() []string {
	var lines []string
	if r := s.Ran; r != nil {
		lines = append(lines, fmt.Sprintf("ran for %s, with %s of CPU and %s of memory at most",
			duration(time.Duration(r.DurationMs)*time.Millisecond), duration(time.Duration(r.CPUMicros)*time.Microsecond), size(r.MemoryPeakBytes)))
	}
	for _, list := range []struct {
		what  string
		names Names
	}{
		{"names resolved", s.Resolved}, {"names refused", s.Unresolved},
		{"connections allowed", s.Connected}, {"connections refused", s.Unconnected},
	} {
		if text := list.names.text(); text != "" {
			lines = append(lines, list.what+": "+text)
		}
	}
	if s.Journal != "" {
		lines = append(lines, "the trail is in the journal; to verify it: cellos audit verify "+shellWord(s.Journal))
	}
	return lines
}

// maxShown is how many names a line has room for.
const maxShown = 8

func (n Names) text() string {
	var parts []string
	more := n.More
	for i, name := range n.Names {
		switch {
		case i >= maxShown:
			more += name.Count
		case name.Count > 1:
			parts = append(parts, fmt.Sprintf("%s (%d times)", name.Name, name.Count))
		default:
			parts = append(parts, name.Name)
		}
	}
	if more > 0 {
		parts = append(parts, fmt.Sprintf("others (%d times)", more))
	}
	return strings.Join(parts, ", ")
}

// duration rounds to what a person wants to know.
func duration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	return d.String()
}

func size(bytes int64) string {
	const mib = 1 << 20
	if bytes >= 10<<30 {
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(bytes)/mib)
}

// shellWord quotes a word for a shell if it needs it.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

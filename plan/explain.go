package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"cellos.io/cellos/cell"
)

// Explain says in words what a plan lets a cell do, what enforces each part,
// and what is refused and why: for whoever has to answer for the cell. The
// text depends on nothing but its arguments.
func Explain(doc *cell.Document, p *Plan, refusals []Finding) string {
	e := &explainer{doc: doc, plan: p, refused: make(map[string]bool)}
	for _, f := range refusals {
		e.refused[f.Path] = true
	}
	e.line("Cell %s, on backend %s under profile %s.", p.SpecID, p.Backend, p.Profile)
	switch n := len(refusals); n {
	case 0:
		e.line("It would run as follows.")
	case 1:
		e.line("It would not run: one thing is refused, see the end. The rest is as follows.")
	default:
		e.line("It would not run: %d things are refused, see the end. The rest is as follows.", n)
	}
	e.program()
	e.resolves()
	e.connects()
	e.reads()
	e.writes()
	e.secrets()
	e.ends()
	e.consumes()
	e.enforced()
	e.findings("Less than was asked for", p.Warnings)
	e.findings("Refused", refusals)
	return e.text.String()
}

// explainer writes sections of a heading and indented lines. Texts of a
// document that are not plain are quoted.
type explainer struct {
	doc  *cell.Document
	plan *Plan
	// refused has the paths of the document that are refused.
	refused map[string]bool
	text    strings.Builder
}

func (e *explainer) line(format string, args ...any) {
	fmt.Fprintf(&e.text, format+"\n", args...)
}

func (e *explainer) section(heading string) { e.line("\n%s", heading) }

func (e *explainer) item(format string, args ...any) { e.line("  "+format, args...) }

// table writes rows of cells in columns.
func (e *explainer) table(rows [][]string) {
	w := tabwriter.NewWriter(&e.text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		// The last column ends the line, so no space follows it.
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes everything
}

func (e *explainer) findings(heading string, list []Finding) {
	if len(list) == 0 {
		return
	}
	e.section(heading)
	for _, f := range list {
		e.item("%s", f)
	}
}

// shown is a text of a document as it can be printed: quoted if it holds white
// space or what a terminal would act upon.
func shown(s string) string {
	odd := func(r rune) bool { return r == ' ' || r == '"' || r == '\\' || !strconv.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

func shownAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = shown(s)
	}
	return strings.Join(out, " ")
}

func (e *explainer) program() {
	e.section("What runs")
	proc := e.plan.Process
	if proc == nil {
		e.item("nothing: the document has no program")
		return
	}
	e.item("%s", shownAll(proc.Argv))
	who := "as the user of the supervisor"
	if id := e.plan.Identity; id != nil {
		who = fmt.Sprintf("as user %d and group %d of the cell", id.UID, id.GID)
		switch {
		case id.As != nil:
			who += fmt.Sprintf(", which outside are %d and %d", id.As.UID, id.As.GID)
		case id.Block:
			who += ", which outside are ids that nobody else has"
		default:
			who += ", which outside are the caller's own"
		}
	}
	e.item("%s", who)
	e.item("in %s", shown(proc.Dir))
	if len(proc.Vars) == 0 {
		e.item("with no variables but secrets")
		return
	}
	var names []string
	for name := range proc.Vars {
		names = append(names, name)
	}
	slices.Sort(names)
	e.item("with these variables and no others but secrets:")
	var rows [][]string
	for _, name := range names {
		rows = append(rows, []string{"  " + shown(name), shown(proc.Vars[name])})
	}
	e.table(rows)
}

func (e *explainer) secrets() {
	e.section("Which secrets it is given")
	if len(e.plan.Secrets) == 0 {
		e.item("none")
		return
	}
	how := map[cell.SecretDelivery]string{
		cell.DeliverEnv:                 "as a variable of this name",
		cell.DeliverFile:                "as a file of this name in " + SecretsDir,
		cell.DeliverRuntimeBroker:       "when it asks for it",
		cell.DeliverRuntimeLeasedBroker: "when it asks for it, revoked at the end",
	}[e.plan.Delivery]
	var rows [][]string
	for _, name := range e.plan.Secrets {
		rows = append(rows, []string{shown(name), how})
	}
	e.table(rows)
}

func (e *explainer) ends() {
	e.section("When it ends")
	t := e.plan.Time
	e.item("%s after it was accepted at the latest: every process of it is killed", durationText(t.TTL))
	if t.Timeout > 0 && t.Timeout < t.TTL {
		e.item("%s after its program has started, which is then asked to end", durationText(t.Timeout))
	}
	if grace := min(t.Grace, t.TTL); grace > 0 {
		e.item("%s after it was asked to end, if it has not", durationText(grace))
	}
}

// durationText is a duration without the units that are zero.
func durationText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func (e *explainer) consumes() {
	e.section("What it may consume")
	var rows [][]string
	add := func(what, limit string) { rows = append(rows, []string{what, limit}) }
	l := e.plan.Limits
	switch {
	case l == nil:
		add("memory, processor, processes", "what the host has")
	default:
		add("memory", orHost(l.Memory != 0, bytesText(l.Memory)))
		add("processor", orHost(l.CPUQuotaMicros != 0, fmt.Sprintf("%v in every %v",
			time.Duration(l.CPUQuotaMicros)*time.Microsecond, time.Duration(l.CPUPeriodMicros)*time.Microsecond)))
		add("processes", fmt.Sprint(l.Pids))
	}
	if f := e.plan.Files; f != nil {
		add("files of its own", bytesText(f.DiskMax)+" together")
	}
	if p := e.plan.Process; p != nil {
		add("open files", fmt.Sprintf("%d in each process", p.OpenFiles))
	}
	add("events", bytesText(uint64(e.plan.Events.MaxBytes))+" of its trail; past that it is killed")
	e.table(rows)
}

func orHost(limited bool, limit string) string {
	if limited {
		return limit
	}
	return "what the host has"
}

// bytesText is a number of bytes as people write it, without rounding.
func bytesText(n uint64) string {
	for _, unit := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n>>unit.shift > 0 && n&(1<<unit.shift-1) == 0 {
			return fmt.Sprintf("%d %s", n>>unit.shift, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func (e *explainer) enforced() {
	e.section("What enforces it")
	var rows [][]string
	for _, name := range Controls {
		c, ok := e.plan.Isolation[name]
		if !ok {
			c = Control{State: Unknown, By: "the backend does not say"}
		}
		rows = append(rows, []string{name, string(c.State), c.By})
	}
	e.table(rows)
	if n := e.plan.Network; n != nil {
		e.item("the firewall of the cell has the SHA-256 digest %s", n.Digest)
	}
}

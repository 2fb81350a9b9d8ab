package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/plan"
	"cellos.io/cellos/probe"
)

// write prints a diagnosis for a person: what works, what does not and what to
// do, what a cell would enforce, and whether that is enough.
func (d diagnosis) write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "What this host can do for cells of uid %d:\n\n", d.UID)
	d.writeAbilities(&b)
	d.writeRemedies(&b)
	fmt.Fprintf(&b, "\nWhat a cell of backend %s enforces here:\n\n", d.Backend)
	d.writeIsolation(&b)
	b.WriteByte('\n')
	b.WriteString(d.verdict())
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

func (d diagnosis) writeAbilities(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ABILITY\tANSWER\tCONTROLS\tWHAT A CELL HAS BY IT")
	for _, f := range d.Abilities {
		means := f.Means
		if f.brief() {
			means += " (" + console.Escape(f.Detail) + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Name, answerWord(f.Answer), strings.Join(f.Controls, ", "), means)
	}
	table.Flush()
}

// answerWord is the answer as a word of a table.
func answerWord(a probe.Answer) string {
	if a == probe.Unsupported {
		return "no"
	}
	return string(a)
}

// brief reports whether all there is to say fits into the table: how well it
// works, or which other ability it lacks.
func (f tried) brief() bool {
	return f.Detail != "" && f.Remedy == "" && (f.Answer == probe.Works || strings.HasPrefix(f.Detail, "needs "))
}

// writeRemedies says more about what does not work, or works with a catch:
// once what is the same for several.
func (d diagnosis) writeRemedies(w io.Writer) {
	said := map[[2]string]bool{}
	for i, f := range d.Abilities {
		why := [2]string{f.Detail, f.Remedy}
		if f.Answer == probe.Works && f.Remedy == "" || f.brief() || said[why] {
			continue
		}
		said[why] = true
		names := []string{f.Name}
		for _, other := range d.Abilities[i+1:] {
			if other.Answer == f.Answer && other.Detail == f.Detail && other.Remedy == f.Remedy {
				names = append(names, other.Name)
			}
		}
		fmt.Fprintf(w, "\n%s: %s\n", strings.Join(names, ", "), console.Escape(f.Detail))
		if f.Remedy != "" {
			fmt.Fprintf(w, "    %s\n", console.Escape(f.Remedy))
		}
	}
}

func (d diagnosis) writeIsolation(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONTROL\tSTATE\tBY")
	for _, name := range plan.Controls {
		c := d.Isolation[name]
		fmt.Fprintf(table, "%s\t%s\t%s\n", name, c.State, console.Escape(c.By))
	}
	table.Flush()
}

// verdict is the last line.
func (d diagnosis) verdict() string {
	if d.Hardened {
		return "hardened cells can run here"
	}
	reasons := make([]string, len(d.Missing))
	for i, f := range d.Missing {
		reasons[i] = console.Escape(strings.ReplaceAll(f.String(), "\n", ", "))
	}
	return "hardened cells cannot run here: " + strings.Join(reasons, "; ")
}

package plan

import (
	"strings"

	"cellos.io/cellos/cell"
)

func (e *explainer) reads() {
	e.section("Which files of the host it may read")
	f := e.plan.Files
	if f == nil {
		e.item("all that the user of the supervisor may read: backend %s has no file view of its own", e.plan.Backend)
		return
	}
	var system []string
	for _, entry := range f.Entries {
		if entry.Kind == KindSystem {
			system = append(system, shown(entry.Target))
		}
	}
	if len(system) > 0 {
		e.item("of the system:")
		e.wrapped(system)
	}
	if env := e.doc.Spec.Environment; env != nil && env.Rootfs != "" {
		e.item("all of %s, as its root", shown(env.Rootfs))
	}
	e.mounts(true)
	if len(system) == 0 && (e.doc.Spec.Environment == nil || e.doc.Spec.Environment.Rootfs == "") && e.doc.Spec.Authority.Filesystem == nil {
		e.item("none")
	}
	e.item("no others: their paths do not exist in the cell")
}

func (e *explainer) writes() {
	e.section("Which files it may also write")
	f := e.plan.Files
	if f == nil {
		e.item("all that the user of the supervisor may write")
		return
	}
	e.mounts(false)
	var scratch []string
	for _, entry := range f.Entries {
		if entry.Kind == KindScratch && entry.Target != SecretsDir {
			scratch = append(scratch, shown(entry.Target))
		}
	}
	if len(scratch) > 0 {
		e.item("%s, which are empty at the start and gone at the end", strings.Join(scratch, ", "))
	}
}

// mounts says what of the document's mounts can be read alone, or written.
func (e *explainer) mounts(readOnly bool) {
	fs := e.doc.Spec.Authority.Filesystem
	if fs == nil {
		return
	}
	for _, m := range fs.Mounts {
		if isReadOnly(m) != readOnly {
			continue
		}
		at := ""
		if m.Target != m.Source {
			at = ", in the cell at " + shown(m.Target)
		}
		if readOnly {
			e.item("%s%s", shown(m.Source), at)
			continue
		}
		e.item("%s%s, of the host: what it writes there stays", shown(m.Source), at)
		if kept := e.protected(m); len(kept) > 0 {
			e.item("  but not %s", strings.Join(kept, ", "))
		}
	}
}

func isReadOnly(m cell.Mount) bool { return m.ReadOnly == nil || *m.ReadOnly }

// protected are the paths of a writable mount that stay as they are.
func (e *explainer) protected(m cell.Mount) []string {
	declared := map[string]bool{}
	for _, other := range e.doc.Spec.Authority.Filesystem.Mounts {
		declared[other.Target] = true
	}
	var kept []string
	for _, entry := range e.plan.Files.Entries {
		if entry.Kind == KindMount && entry.ReadOnly && entry.Target != m.Target && within(entry.Target, m.Target) && !declared[entry.Target] {
			kept = append(kept, shown(strings.TrimPrefix(entry.Target, m.Target+"/")))
		}
	}
	return kept
}

// wrapped writes words in lines that fit a terminal.
func (e *explainer) wrapped(words []string) {
	const width = 76
	line := ""
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		if line != "" && len(line)+1+len(w) > width {
			e.item("  %s", line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	if line != "" {
		e.item("  %s", line)
	}
}

package plan

import (
	"fmt"
	"path"
	"strings"

	"cellos.io/cellos/cell"
)

// mounts are the paths of the host that the document declares, in its order.
func (f *fileCompiler) mounts() {
	fs := f.spec.Authority.Filesystem
	if fs == nil {
		return
	}
	for i, m := range fs.Mounts {
		f.mount(fmt.Sprintf("spec.authority.filesystem.mounts[%d]", i), m)
	}
}

func (f *fileCompiler) mount(field string, m cell.Mount) {
	found, ok := f.source(field+".source", m.Source, MapUser)
	if !ok || !f.place(field+".target", m.Target) {
		return
	}
	readOnly := m.ReadOnly == nil || *m.ReadOnly
	e := FileEntry{Target: m.Target, Kind: KindMount, Source: m.Source, File: found.Type == "file", ReadOnly: readOnly, Found: &found.ID, Why: "declared: " + field}
	f.add(f.mapped(e, found))
	f.below(field, m, found, readOnly)
	if !readOnly {
		f.protect(field, m, found)
	}
}

// source checks that a path may be mounted, and how its owners appear.
func (f *fileCompiler) source(field, source string, want Mapping) (HostMount, bool) {
	found, known := f.facts.Mounts[source]
	switch {
	case !known:
		f.refuse(field, source+" was not looked at", "")
		return found, false
	case found.Err != "":
		f.refuse(field, source+": "+found.Err, "name a directory or file that exists")
		return found, false
	case found.Type != "dir" && found.Type != "file":
		f.refuse(field, fmt.Sprintf("%s is a %s", source, found.Type), "name a directory or a regular file")
		return found, false
	}
	for _, dir := range append([]string{"/proc", "/sys", "/dev", "/run"}, f.facts.Private...) {
		if within(found.Path, dir) || within(dir, found.Path) {
			f.refuse(field, fmt.Sprintf("%s is, contains or lies in %s", found.Path, dir), "name a directory that has nothing to do with it")
			return found, false
		}
	}
	return found, f.own(field, source, found, want)
}

// own sees to it that the owner of a mount can appear as the cell's user where
// the file system cannot map owners: the cell's user then is that owner.
func (f *fileCompiler) own(field, source string, found HostMount, want Mapping) bool {
	id := f.plan.Identity
	if !id.Block || found.Mappable != Unavailable {
		return true
	}
	owner := found.Owner
	switch {
	case want == MapAll:
		f.refuse(field, fmt.Sprintf("%s is on %s, which cannot map the owners of files", source, found.Filesystem), "move it to ext4, xfs, btrfs or a tmpfs")
	case owner.UID == 0 || owner.GID == 0:
		f.refuse(field, fmt.Sprintf("%s is on %s, which cannot map the owners of files, and belongs to root", source, found.Filesystem),
			"move it to ext4, xfs, btrfs or a tmpfs, or give it to an ordinary user")
	case id.As != nil && *id.As != owner:
		f.refuse(field, fmt.Sprintf("%s is on %s, which cannot map the owners of files, and belongs to another user than the mounts before it", source, found.Filesystem),
			"move it to ext4, xfs, btrfs or a tmpfs")
	default:
		id.As = &owner
		return true
	}
	return false
}

// mapped has the owner of a source appear as the cell's user: not where the
// file system cannot, and where he is the cell's user already.
func (f *fileCompiler) mapped(e FileEntry, source HostMount) FileEntry {
	if source.Mappable != Unavailable && f.plan.Identity.Block {
		e.Map, e.Owner = MapUser, &source.Owner
	}
	return e
}

// place checks that there is a place for a mount: it is made in what is the
// cell's own, and must exist in what is not.
func (f *fileCompiler) place(field, target string) bool {
	at, mounted := f.entryAt(target)
	if mounted && (at.Kind == KindSystem || at.Kind == KindMount && at.Map == MapAll) && f.facts.Missing[target] {
		f.refuse(field, fmt.Sprintf("%s is not there, and %s is read-only, so it cannot be made", target, at.Target),
			"use a target outside of "+at.Target)
		return false
	}
	return true
}

// below adds the mounts below a source. Who has the authority mounts each by
// itself, and leaves out what cannot be mapped; a rootless cell takes them as
// they are, with the mount that they are in.
func (f *fileCompiler) below(field string, m cell.Mount, found HostMount, readOnly bool) {
	if !f.plan.Identity.Block {
		return
	}
	for _, sub := range found.Below {
		rel := strings.TrimPrefix(sub.Path, found.Path)
		if sub.Mappable == Unavailable {
			f.plan.Warnings = append(f.plan.Warnings, Finding{
				Path:   field + ".source",
				Reason: fmt.Sprintf("%s is left out: %s cannot be mounted in a cell with the owners of its files mapped", sub.Path, sub.Filesystem),
			})
			continue
		}
		// Whoever owns what is mounted there: only the owner of the source is
		// the cell's user.
		f.add(FileEntry{
			Target: m.Target + rel, Kind: KindMount, Source: m.Source + rel, Below: m.Source, File: sub.Type == "file", ReadOnly: readOnly,
			Map: MapUser, Owner: &found.Owner, Found: &sub.ID, Why: "mounted below " + field,
		})
	}
}

// protect keeps paths of a writable mount read-only. Each directory that leads
// there becomes a mount as well: what is mounted cannot be renamed, and so
// not be replaced.
func (f *fileCompiler) protect(field string, m cell.Mount, found HostMount) {
	exists := map[string]bool{}
	for _, p := range found.Protected {
		exists[p] = true
	}
	wanted := m.Protect
	if wanted == nil {
		wanted = DefaultProtect
	}
	pinned := map[string]bool{}
	for i, p := range wanted {
		if !exists[p] {
			if m.Protect != nil {
				f.refuse(fmt.Sprintf("%s.protect[%d]", field, i), fmt.Sprintf("%s/%s does not exist, so it cannot be kept as it is", m.Source, p), "make it, or remove the path")
			}
			continue
		}
		for _, dir := range parents(p) {
			if !pinned[dir] {
				pinned[dir] = true
				f.add(f.mapped(FileEntry{
					Target: path.Join(m.Target, dir), Kind: KindMount, Source: path.Join(m.Source, dir), Below: m.Source,
					Why: "cannot be replaced: it leads to what is protected",
				}, found))
			}
		}
		f.add(f.mapped(FileEntry{
			Target: path.Join(m.Target, p), Kind: KindMount, Source: path.Join(m.Source, p), Below: m.Source, ReadOnly: true,
			Why: "protected in " + field,
		}, found))
	}
}

// parents of a relative path, the outermost first.
func parents(p string) []string {
	var list []string
	for i := range len(p) {
		if p[i] == '/' {
			list = append(list, p[:i])
		}
	}
	return list
}

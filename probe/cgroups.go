package probe

import (
	"path"
	"slices"
	"strings"
)

// A hierarchy is a mount of cgroups (cgroups(7)).
type hierarchy struct {
	mount string // where it is mounted
	root  string // which of its groups is there
	v2    bool
	// controllers of version 1. Those of version 2 are in its files.
	controllers []string
	own         string // the group of this process, below mount
}

// hierarchies reads /proc/self/mountinfo and /proc/self/cgroup.
func hierarchies(mountinfo, cgroup string) []hierarchy {
	var list []hierarchy
	for line := range strings.Lines(mountinfo) {
		// proc_pid_mountinfo(5): id, parent, device, root, mount point,
		// options, optional fields, "-", type, source, super options.
		before, after, _ := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if len(fields) < 6 || len(rest) < 3 || rest[0] != "cgroup" && rest[0] != "cgroup2" {
			continue
		}
		h := hierarchy{mount: unescape(fields[4]), root: unescape(fields[3]), v2: rest[0] == "cgroup2"}
		if !h.v2 {
			h.controllers = strings.Split(rest[2], ",")
		}
		h.own = ownGroup(h, cgroup)
		list = append(list, h)
	}
	return list
}

// ownGroup is where this process is in a hierarchy, as a path of the mount; ""
// if it is not below it.
func ownGroup(h hierarchy, cgroup string) string {
	for line := range strings.Lines(cgroup) {
		// id:controllers:path; version 2 is 0 and no controllers.
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		names, group, _ := strings.Cut(rest, ":")
		if h.v2 != (names == "") || !h.v2 && !slices.ContainsFunc(strings.Split(names, ","), h.has) {
			continue
		}
		below, ok := strings.CutPrefix(group, strings.TrimSuffix(h.root, "/"))
		if ok {
			return path.Join(h.mount, below)
		}
	}
	return ""
}

// has reports whether a controller of version 1 is in this hierarchy.
func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// holder returns the hierarchy that has a controller: of version 1 if there
// is one, since version 2 then does not have it.
func holder(list []hierarchy, controller string) (hierarchy, bool) {
	var two *hierarchy
	for i, h := range list {
		if h.has(controller) {
			return h, true
		}
		if h.v2 && two == nil {
			two = &list[i]
		}
	}
	if two == nil {
		return hierarchy{}, false
	}
	return *two, true
}

// A knob is how a limit is set.
type knob struct{ file, value string }

// knobs are the limits that are tried, by version.
var knobs = map[string][2]knob{
	"memory": {{"memory.limit_in_bytes", "67108864"}, {"memory.max", "67108864"}},
	"cpu":    {{"cpu.cfs_quota_us", "50000"}, {"cpu.max", "50000 100000"}},
	"pids":   {{"pids.max", "16"}, {"pids.max", "16"}},
}

// version is the index into knobs.
func (h hierarchy) version() int {
	if h.v2 {
		return 1
	}
	return 0
}

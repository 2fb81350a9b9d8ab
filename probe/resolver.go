package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// resolverFiles are the files that tell how this host resolves names.
type resolverFiles struct {
	resolvConf, nsswitch, hosts string
	hostname                    string
}

// judge says whether cells have resolvers by default, and which of the host's
// names they do not have: cells ask name servers only.
func (f resolverFiles) judge() Result {
	var servers []string
	for line := range strings.Lines(f.resolvConf) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "nameserver" {
			if addr, err := netip.ParseAddr(fields[1]); err == nil {
				servers = append(servers, addr.String())
			}
		}
	}
	if len(servers) == 0 {
		return Result{Answer: Unsupported, Detail: "/etc/resolv.conf names no name server",
			Remedy: "name resolvers in the document (spec.authority.dnsAuthority.resolvers)"}
	}
	r := Result{Answer: Works, Detail: strings.Join(servers, ", ")}
	var missed []string
	if names := f.hostNames(); len(names) > 0 {
		const show = 5
		text := strings.Join(names[:min(show, len(names))], ", ")
		if more := len(names) - show; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		missed = append(missed, "/etc/hosts ("+text+")")
	}
	if modules := f.otherModules(); len(modules) > 0 {
		missed = append(missed, "nsswitch.conf ("+strings.Join(modules, ", ")+")")
	}
	if len(missed) > 0 {
		r.Detail += "; cells do not see the names of " + strings.Join(missed, " and ")
		r.Remedy = "a cell that needs such a name: serve it by a name server, or declare its address"
	}
	return r
}

// hostNames are the names in /etc/hosts but those of the host itself and of
// its loopback.
func (f resolverFiles) hostNames() []string {
	var names []string
	for line := range strings.Lines(f.hosts) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.IsLoopback() || addr.IsMulticast() || addr == netip.MustParseAddr("fe00::") {
			continue
		}
		for _, name := range fields[1:] {
			if name != f.hostname && !strings.HasPrefix(name, "ip6-") && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// otherModules are the sources of host names in nsswitch.conf(5) that are not
// the files and the name servers. That of systemd-resolved asks what its stub
// resolver asks, except for names on the local network.
func (f resolverFiles) otherModules() []string {
	var modules []string
	for line := range strings.Lines(f.nsswitch) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if !ok {
			continue
		}
		for _, module := range strings.Fields(rest) {
			switch {
			case strings.HasPrefix(module, "["), module == "files", module == "dns", module == "myhostname", module == "resolve":
			default:
				modules = append(modules, module)
			}
		}
	}
	return modules
}

package plan

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// SystemPaths are the paths of a host that a cell with base "system" sees, as
// patterns of package path, each where it exists and every user may read it.
// There is nothing secret in any of them, and nothing that names the host's
// users, networks or accounts.
var SystemPaths = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",

	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
	"/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/locale.conf",
	"/etc/os-release", "/etc/debian_version", "/etc/services", "/etc/protocols", "/etc/rpc", "/etc/networks",
	"/etc/mime.types", "/etc/magic", "/etc/gai.conf", "/etc/terminfo", "/etc/inputrc", "/etc/shells",
	"/etc/bash.bashrc", "/etc/profile",
	"/etc/ssl/openssl.cnf", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/ca-trust", "/etc/pki/java",
	"/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies", "/etc/ca-certificates",
	"/etc/java-*", "/etc/maven/m2.conf", "/etc/maven/logging", "/etc/fonts", "/etc/python3*",
	"/etc/perl", "/etc/php", "/etc/vim", "/etc/ssh/ssh_known_hosts",
	// Where SUSE's /etc/ssl/certs leads to.
	"/var/lib/ca-certificates",
}

// system is the file view of a cell that uses the host's programs.
func (f *fileCompiler) system() {
	for _, name := range slices.Sorted(maps.Keys(f.facts.System)) {
		found := f.facts.System[name]
		if !found.Public {
			continue
		}
		why := "the system's programs and libraries"
		if within(name, "/etc") {
			why = "configuration that programs of the system read"
		}
		if found.Link != "" && f.visible(path.Join(path.Dir(name), found.Link), found.Link) {
			f.add(FileEntry{Target: name, Kind: KindLink, Source: found.Link, Why: why})
			continue
		}
		f.add(FileEntry{Target: name, Kind: KindSystem, Source: name, ReadOnly: true, Why: why})
	}
	f.etc()
}

// visible reports whether what a link leads to is in the view of the system.
// A link that leads elsewhere is followed when it is mounted.
func (f *fileCompiler) visible(relative, text string) bool {
	to := relative
	if path.IsAbs(text) {
		to = path.Clean(text)
	}
	for _, dir := range []string{"/usr", "/nix/store", "/gnu/store"} {
		if _, there := f.facts.System[dir]; there && within(to, dir) {
			return true
		}
	}
	return false
}

// etc are the files of /etc that are the cell's own: what they say on the host
// is about the host.
func (f *fileCompiler) etc() {
	const why = "written for the cell"
	users, groups := f.accounts()
	for _, file := range []struct{ name, content string }{
		{"passwd", users},
		{"group", groups},
		{"hosts", f.hosts()},
		{"hostname", "cell\n"},
		{"resolv.conf", resolvConf},
		{"nsswitch.conf", nsswitchConf},
		{"host.conf", "multi on\n"},
		{"machine-id", f.facts.MachineID + "\n"},
		{"gitconfig", f.gitconfig()},
	} {
		f.add(FileEntry{Target: "/etc/" + file.name, Kind: KindFile, Content: file.content, Mode: 0o644, Why: why})
	}
	f.add(FileEntry{Target: "/etc/mtab", Kind: KindLink, Source: "/proc/self/mounts", Why: why})
}

// resolvConf names the resolver of the cell and no search domain: a name is
// asked as it stands (resolv.conf(5)).
const resolvConf = "nameserver 127.0.0.1\nsearch .\noptions timeout:3 attempts:2\n"

// nsswitchConf asks files and DNS, and no daemon of the host (nsswitch.conf(5)).
const nsswitchConf = `passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
`

// accounts are passwd(5) and group(5): root, the cell's user and nobody.
func (f *fileCompiler) accounts() (passwd, group string) {
	var users, groups strings.Builder
	id := f.plan.Identity
	fmt.Fprintf(&users, "root:x:0:0:root:%s:/bin/sh\n", Home)
	fmt.Fprint(&groups, "root:x:0:\n")
	if id.UID != 0 && id.UID != nobody {
		fmt.Fprintf(&users, "cell:x:%d:%d:cell:%s:/bin/sh\n", id.UID, id.GID, Home)
	}
	if id.GID != 0 && id.GID != nobody {
		fmt.Fprintf(&groups, "cell:x:%d:\n", id.GID)
	}
	fmt.Fprintf(&users, "nobody:x:%d:%d:nobody:%s:/bin/sh\n", nobody, nobody, Home)
	fmt.Fprintf(&groups, "nobody:x:%d:\n", nobody)
	return users.String(), groups.String()
}

// hosts is hosts(5). The name of the cell is its own address, which is not a
// loopback address where the cell has another.
func (f *fileCompiler) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	own := f.ownAddresses()
	if len(own) == 0 {
		b.WriteString("127.0.0.1 cell\n")
	}
	for _, addr := range own {
		fmt.Fprintf(&b, "%s cell\n", addr)
	}
	return b.String()
}

// gitconfig lets git work in declared mounts, whose owner it may not know.
func (f *fileCompiler) gitconfig() string {
	fs := f.spec.Authority.Filesystem
	if fs == nil || len(fs.Mounts) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("[safe]\n")
	for _, m := range fs.Mounts {
		// git-config(1): in quotes only these two are special.
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(m.Target)
		fmt.Fprintf(&b, "\tdirectory = \"%s\"\n\tdirectory = \"%s/*\"\n", quoted, quoted)
	}
	return b.String()
}

// rootfs is the file view of a cell that brings its own programs: what is in
// the root of that file system, each entry by itself, so that the fresh
// directories have a place.
func (f *fileCompiler) rootfs(source string) {
	const field = "spec.environment.rootfs"
	m, ok := f.source(field, source, MapAll)
	if !ok {
		return
	}
	if m.Type != "dir" {
		f.refuse(field, source+" is a "+m.Type, "name a directory")
		return
	}
	const why = "the declared rootfs"
	for _, name := range slices.Sorted(maps.Keys(f.facts.Rootfs)) {
		switch name {
		case "/proc", "/sys", "/dev", "/tmp", "/run", "/etc", "/home":
			continue // fresh, or entry by entry
		case "/etc/passwd", "/etc/group":
		case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/etc/machine-id":
			continue // the cell's own
		}
		if link := f.facts.Rootfs[name].Link; link != "" {
			f.add(FileEntry{Target: name, Kind: KindLink, Source: link, Why: why})
			continue
		}
		e := FileEntry{Target: name, Kind: KindMount, Source: path.Join(source, name), Below: source, ReadOnly: true, Why: why}
		if f.plan.Identity.Block {
			e.Map = MapAll
		}
		f.add(e)
	}
	const own = "written for the cell"
	for _, file := range [][2]string{
		{"/etc/hosts", f.hosts()}, {"/etc/hostname", "cell\n"}, {"/etc/resolv.conf", resolvConf},
		{"/etc/machine-id", f.facts.MachineID + "\n"},
	} {
		f.add(FileEntry{Target: file[0], Kind: KindFile, Content: file[1], Mode: 0o644, Why: own})
	}
	f.add(FileEntry{Target: "/etc/mtab", Kind: KindLink, Source: "/proc/self/mounts", Why: own})
}

package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Answer
	}{
		{nil, Works},
		{at("step", nil), Works},
		{at("step", syscall.EPERM), Unsupported},
		{at("step", syscall.ENOSYS), Unsupported},
		{at("step", syscall.EINVAL), Unsupported},
		{fmt.Errorf("outer: %w", at("step", syscall.EROFS)), Unsupported},
		// What may be otherwise the next time.
		{at("step", syscall.ENOSPC), Unknown},
		{at("step", syscall.EAGAIN), Unknown},
		{at("step", syscall.ENOMEM), Unknown},
		{at("step", syscall.EMFILE), Unknown},
		{at("step", errors.New("no errno")), Unknown},
		{context.DeadlineExceeded, Unknown},
		{errors.New("the child ended early"), Unknown},
	} {
		r := judge("note", test.err)
		if r.Answer != test.want {
			t.Errorf("%v: %s, want %s", test.err, r.Answer, test.want)
		}
		if r.Detail == "" {
			t.Errorf("%v: no detail", test.err)
		}
	}
}

func TestRemediesOfUserNamespaces(t *testing.T) {
	ordinary := facts{uid: 1000, exe: "/usr/local/bin/cellos", mapped: true, usernsMax: "15000"}
	with := func(change func(*facts)) facts { f := ordinary; change(&f); return f }
	mapIDs := at("map the caller's ids", syscall.EPERM)
	clone := &refusal{step: "make the namespaces", errno: syscall.EPERM}
	for _, test := range []struct {
		name   string
		facts  facts
		err    error
		answer Answer
		remedy string // a part of it
	}{
		{"works", ordinary, nil, Works, ""},
		{"Ubuntu", with(func(f *facts) { f.usernsAppArmor = "1" }), mapIDs, Unsupported,
			`'profile cellos "/usr/local/bin/cellos" flags=(unconfined) {' '  userns,' '}' > /etc/apparmor.d/cellos && apparmor_parser -r /etc/apparmor.d/cellos`},
		{"Debian", with(func(f *facts) { f.usernsClone = "0" }), clone, Unsupported, "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"turned off", with(func(f *facts) { f.usernsMax = "0" }), at("make the namespaces", syscall.ENOSPC), Unsupported, "sysctl -w user.max_user_namespaces=15000"},
		{"used up", ordinary, at("make the namespaces", syscall.ENOSPC), Unknown, "user.max_user_namespaces"},
		{"Docker", with(func(f *facts) { f.filtered = true }), clone, Unsupported, "--security-opt seccomp=unconfined"},
		{"container of few ids", with(func(f *facts) { f.uid, f.mapped = 0, false }), clone, Unsupported, "--userns=host"},
		{"private binary", ordinary, trial{}.startError(syscall.EACCES), Unsupported, "chmod 0755 /usr/local/bin/cellos"},
		{"old kernel", ordinary, trial{}.startError(syscall.EINVAL), Unsupported, "CONFIG_USER_NS"},
		{"chroot", ordinary, clone, Unsupported, "chroot"},
		{"no memory", ordinary, trial{}.startError(syscall.ENOMEM), Unknown, ""},
		{"slow", ordinary, context.DeadlineExceeded, Unknown, ""},
	} {
		r := test.facts.userNamespace(judge("", test.err), test.err)
		if r.Answer != test.answer || !strings.Contains(r.Remedy, test.remedy) || test.remedy == "" && r.Remedy != "" {
			t.Errorf("%s: %s, %q, remedy %q; want %s with %q", test.name, r.Answer, r.Detail, r.Remedy, test.answer, test.remedy)
		}
	}
}

func TestMapsIDs(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295":          true,
		"0 100000 65536":                            false,
		"0 100000 65536\n1000000000 0 1500000000\n": true,
		"1879048192 0 10":                           false,
		"":                                          false,
		"garbage\n0 0 x":                            false,
	} {
		if got := mapsIDs(text, firstIDForTest, 1<<16); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

const firstIDForTest = 0x6fff0000

func TestHierarchies(t *testing.T) {
	const hybrid = `24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	const two = "25 24 0:23 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
	const container = `25 24 0:23 /docker/abc /sys/fs/c\040group rw,relatime - cgroup2 cgroup rw
`
	for _, test := range []struct {
		name, mounts, groups, controller string
		mount, own                       string
		v2, none                         bool
	}{
		{"hybrid", hybrid, "2:cpu,cpuacct:/\n1:memory:/a/b\n0::/x\n", "memory", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a/b", false, false},
		{"hybrid, shared", hybrid, "2:cpu,cpuacct:/c\n0::/x\n", "cpu", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/c", false, false},
		{"hybrid, not in version 1", hybrid, "0::/x\n", "pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/x", true, false},
		{"unified", two, "0::/user.slice/session-1.scope\n", "memory", "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/session-1.scope", true, false},
		{"container", container, "0::/docker/abc/x\n", "memory", "/sys/fs/c group", "/sys/fs/c group/x", true, false},
		{"not below the mount", container, "0::/other\n", "memory", "/sys/fs/c group", "", true, false},
		{"none", "24 1 0:22 / /sys rw - sysfs sysfs rw\n", "", "memory", "", "", false, true},
		{"garbage", " - cgroup\n25 - cgroup2 a b\n\n", "::\n", "memory", "", "", false, true},
	} {
		h, ok := holder(hierarchies(test.mounts, test.groups), test.controller)
		if ok == test.none || h.mount != test.mount || h.own != test.own || h.v2 != test.v2 {
			t.Errorf("%s: %+v, %v", test.name, h, ok)
		}
	}
}

func TestResolver(t *testing.T) {
	good := resolverFiles{
		resolvConf: "# made by hand\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n",
		nsswitch:   "passwd: files ldap\nhosts: files resolve [!UNAVAIL=return] myhostname dns\n",
		hosts:      "127.0.0.1 localhost\n127.0.1.1 box\n::1 ip6-localhost\nff02::1 ip6-allnodes\n192.0.2.9 box # itself\n",
		hostname:   "box",
	}
	if r := good.judge(); r.Answer != Works || r.Remedy != "" || r.Detail != "192.0.2.1, fe80::1%eth0" {
		t.Errorf("%+v", r)
	}
	other := good
	other.hosts += "10.0.0.7 db.internal db\n10.0.0.8 cache\n"
	other.nsswitch = "hosts: files mdns4_minimal [NOTFOUND=return] dns\n"
	if r := other.judge(); r.Answer != Works || r.Remedy == "" ||
		r.Detail != "192.0.2.1, fe80::1%eth0; cells do not see the names of /etc/hosts (db.internal, db, cache) and nsswitch.conf (mdns4_minimal)" {
		t.Errorf("%+v", r)
	}
	none := resolverFiles{resolvConf: "nameserver\nnameserver localhost\n"}
	if r := none.judge(); r.Answer != Unsupported || r.Remedy == "" {
		t.Errorf("%+v", r)
	}
}

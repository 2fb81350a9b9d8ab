package probe

import (
	"context"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options are what the operator's settings say about a host.
type Options struct {
	// CgroupParent is CELLOS_CGROUP_PARENT, empty for the default.
	CgroupParent string
	// StateDir and RuntimeDir are where a supervisor keeps its files; empty
	// if that does not matter.
	StateDir, RuntimeDir string
	// Paths are directories whose file systems cells may be given. The
	// first is the one that matters.
	Paths []string
}

// Names of abilities that others ask for.
const (
	UserNamespace  = "user-namespace"
	NetNamespace   = "net-namespace"
	MountNamespace = "mount-namespace"
	PIDNamespace   = "pid-namespace"
	IPv6           = "ipv6"
	Landlock       = "landlock"
)

// Abilities returns what a cell of namespaces rests on, as far as the kernel
// and the files of this host decide it.
func Abilities(o Options) []Ability {
	list := []Ability{
		quick("kernel", "the system calls that set a cell up", []string{"filesystem"}, tryCalls),
		quick("pidfd", "proof that every process of a cell is gone", []string{"ttl"}, tryPidfd),
		quick("boottime-timer", "a deadline that suspending does not stop", []string{"ttl"}, tryTimer),
		quick("no-new-privs", "set-user-id programs gain nothing", []string{"noNewPrivs"}, tryNoNewPrivs),
		{Name: UserNamespace, Means: "ids of the cell's own, root of nothing", Controls: []string{"userNamespace", "capabilities"}, Try: tryUserNamespace},
	}
	list = append(list, namespaceAbilities()...)
	list = append(list,
		Ability{Name: "seccomp", Means: "a filter of system calls", Controls: []string{"seccomp"}, Try: plain("seccomp", 0, remedyUnfilter, "use a kernel with CONFIG_SECCOMP_FILTER")},
		quick(Landlock, "a second layer over the file view", []string{"landlock"}, tryLandlock),
		Ability{Name: "idmapped-mounts", Means: "mounted files belong to the cell's user", Needs: []string{UserNamespace}, Try: o.tryIDMaps},
		o.cgroupAbility("memory", "limits of memory", "cgroupMemory"),
		o.cgroupAbility("cpu", "limits of processor time", "cgroupCpu"),
		o.cgroupAbility("pids", "limits of processes"),
		Ability{Name: "process-limit", Means: "limits of processes without a cgroup", Controls: []string{"cgroupPids"}, Needs: []string{UserNamespace},
			Try: plain("processes", syscall.CLONE_NEWUSER, remedyAdmin, "use another kernel")},
		quick(IPv6, "IPv6 in cells", nil, tryIPv6),
		quick("core-dumps", "no copy of a cell's memory on the host", nil, tryCoreDumps),
		Ability{Name: "resolver", Means: "name servers for cells whose document names none", Try: func(context.Context) Result { return tryResolver() }},
	)
	if o.StateDir != "" {
		list = append(list, dirAbility("state-dir", "a place for the trail", o.StateDir, "CELLOS_STATE_DIR"))
	}
	if o.RuntimeDir != "" {
		list = append(list, dirAbility("runtime-dir", "a place for what lives", o.RuntimeDir, "CELLOS_RUNTIME_DIR"))
	}
	return list
}

// OtherBackends returns what cells rest on that are virtual machines or run on
// gVisor. They need [Abilities] before them.
func OtherBackends() []Ability {
	return []Ability{
		{Name: "overlay", Means: "layers of images", Needs: []string{MountNamespace}, Try: plain("overlay", syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, remedyAdmin, "use Linux 5.11 or later with CONFIG_OVERLAY_FS")},
		{Name: "tun", Means: "the network of microVMs", Needs: []string{NetNamespace}, Try: plain("tun", unlessRoot(syscall.CLONE_NEWUSER)|syscall.CLONE_NEWNET,
			"chmod 0666 /dev/net/tun", "modprobe tun; in a container: run it with --device /dev/net/tun")},
		{Name: "kvm", Means: "microVMs at full speed", Try: plain("kvm", 0,
			"add this user to the group kvm: usermod -aG kvm USER", "modprobe kvm_intel or kvm_amd, or turn nested virtualization on; in a container: run it with --device /dev/kvm")},
		programAbility("qemu", "microVMs", qemuProgram(), "install "+qemuProgram()+" (Debian: qemu-system-x86, qemu-system-arm)"),
		programAbility("runsc", "cells of gVisor", "runsc", "install runsc: https://gvisor.dev/docs/user_guide/install/"),
	}
}

// Quick returns the names of the abilities that a run may ask for.
func Quick(abilities []Ability) []string {
	var names []string
	for _, a := range abilities {
		if a.Quick {
			names = append(names, a.Name)
		}
	}
	return names
}

func namespaceAbilities() []Ability {
	const user = syscall.CLONE_NEWUSER
	needs := []string{UserNamespace}
	ns := func(name, means, task string, flag uintptr, kernel string, controls ...string) Ability {
		return Ability{Name: name, Means: means, Controls: controls, Needs: needs, Try: plain(task, user|flag, remedyAdmin, "use a kernel with "+kernel)}
	}
	return []Ability{
		ns(NetNamespace, "a network of its own", "net", syscall.CLONE_NEWNET, "CONFIG_NET_NS", "network", "dns"),
		ns(MountNamespace, "files of its own", "mount", syscall.CLONE_NEWNS, "CONFIG_NAMESPACES", "filesystem"),
		ns(PIDNamespace, "processes that end together", "pid", syscall.CLONE_NEWPID, "CONFIG_PID_NS", "ttl"),
		ns("ipc-namespace", "no shared memory or queues of the host", "wait", syscall.CLONE_NEWIPC, "CONFIG_IPC_NS", "filesystem"),
		ns("uts-namespace", "a host name of its own", "uts", syscall.CLONE_NEWUTS, "CONFIG_UTS_NS"),
		{Name: "private-proc", Means: "only its own processes in /proc", Controls: []string{"filesystem"}, Needs: []string{MountNamespace, PIDNamespace},
			Try: plain("proc", user|syscall.CLONE_NEWNS|syscall.CLONE_NEWPID, remedyUnmask, "use Linux 4.8 or later")},
		{Name: "file-view", Means: "a root that holds only what is declared", Controls: []string{"filesystem"}, Needs: []string{"private-proc", "kernel"},
			Try: plain("files", user|syscall.CLONE_NEWNS|syscall.CLONE_NEWPID, remedyAdmin, "boot from a root that is no initramfs (pivot_root(2))")},
		{Name: "low-ports", Means: "any port may be bound", Needs: []string{NetNamespace, "private-proc"},
			Try: plain("ports", user|syscall.CLONE_NEWNS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNET, remedyAdmin, "use Linux 4.11 or later")},
	}
}

// plain tries one task, and tells what to do about a container that forbids it
// or a kernel that cannot.
func plain(task string, flags uintptr, inContainer, inKernel string) func(context.Context) Result {
	return func(ctx context.Context) Result {
		note, err := trial{task: task, flags: flags}.run(ctx)
		return denied(judge(note, err), err, inContainer, inKernel)
	}
}

// unlessRoot is for devices, which the ids of a cell are not to open.
func unlessRoot(flag uintptr) uintptr {
	if os.Geteuid() == 0 {
		return 0
	}
	return flag
}

func tryUserNamespace(ctx context.Context) Result {
	// Without id maps first: package syscall keeps the pipe that it made for
	// them when the clone itself is refused.
	note, err := trial{task: "wait", flags: syscall.CLONE_NEWUSER, unmapped: true}.run(ctx)
	if err == nil {
		note, err = trial{task: "user", flags: syscall.CLONE_NEWUSER}.run(ctx)
	}
	r := judge(note, err)
	if r.Answer == Works {
		return r
	}
	return readFacts().userNamespace(r, err)
}

func (o Options) tryIDMaps(ctx context.Context) Result {
	if os.Geteuid() != 0 {
		return Result{Answer: Unsupported, Detail: "only root may make them; the files that cells of this user are given appear as his own, others as nobody's"}
	}
	paths := distinct(append(o.Paths, "/", "/tmp"))
	note, err := trial{task: "idmap", args: paths}.run(ctx)
	return denied(judge(note, err), err, remedyAdmin, "keep what cells are given on a file system that can map ids (ext4, xfs, btrfs, tmpfs), with Linux 5.12 or later")
}

func tryResolver() Result {
	f := resolverFiles{
		resolvConf: readSmall("/etc/resolv.conf"),
		nsswitch:   readSmall("/etc/nsswitch.conf"),
		hosts:      readSmall("/etc/hosts"),
	}
	f.hostname, _ = os.Hostname()
	return f.judge()
}

// readFacts reads what explains a refusal.
func readFacts() facts {
	exe, err := os.Executable()
	if err != nil {
		exe = "this program"
	}
	f := facts{
		uid: os.Geteuid(), exe: exe,
		usernsClone:    readSmall("/proc/sys/kernel/unprivileged_userns_clone"),
		usernsAppArmor: readSmall("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		usernsMax:      readSmall("/proc/sys/user/max_user_namespaces"),
		mapped:         mapsIDs(readSmall("/proc/self/uid_map"), firstID, idCount),
	}
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	f.filtered = err == nil && mode == unix.SECCOMP_MODE_FILTER
	return f
}

// readSmall returns the first 64 KiB of a file without the space around them,
// nothing if it cannot be read.
func readSmall(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 1<<16)
	n, _ := f.Read(b)
	return strings.TrimSpace(string(b[:max(n, 0)]))
}

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// groupPrefix begins the names of the groups that probes make. The pid of the
// probing process and the controller follow.
const groupPrefix = "cellos-probe-"

// cgroupAbility is the limits of one controller on a group of a cell's own.
func (o Options) cgroupAbility(controller, means string, controls ...string) Ability {
	return Ability{Name: "cgroup-" + controller, Means: means, Controls: controls, Try: func(ctx context.Context) Result {
		mountinfo, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return Result{Answer: Unknown, Detail: err.Error()}
		}
		groups, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return Result{Answer: Unknown, Detail: err.Error()}
		}
		return o.tryController(ctx, controller, hierarchies(string(mountinfo), string(groups)))
	}}
}

func (o Options) tryController(ctx context.Context, controller string, list []hierarchy) Result {
	h, ok := holder(list, controller)
	if !ok {
		return Result{Answer: Unsupported, Detail: "no cgroups are mounted",
			Remedy: "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	parent, r := o.cgroupParent(h, controller)
	if r.Answer != "" {
		return r
	}
	sweep(parent)
	leaf := filepath.Join(parent, groupPrefix+strconv.Itoa(os.Getpid())+"-"+controller)
	k := knobs[controller][h.version()]
	note, err := trial{task: "cgroup", args: []string{leaf, h.own, k.file, k.value}}.run(ctx)
	// The child removes its group; this is for one that was killed.
	if rmErr := os.Remove(leaf); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
		return Result{Answer: Unknown, Detail: rmErr.Error(), Remedy: "rmdir " + leaf}
	}
	return denied(judge(note, err), err, remedyGroup(h, controller), remedyGroup(h, controller))
}

// cgroupParent is the group below which cells have theirs: as far as it
// exists, so that none has to be made for the trial.
func (o Options) cgroupParent(h hierarchy, controller string) (parent string, r Result) {
	unsupported := func(detail string) (string, Result) {
		return "", Result{Answer: Unsupported, Detail: detail, Remedy: remedyGroup(h, controller)}
	}
	switch {
	case o.CgroupParent != "":
		parent = filepath.Join(h.mount, o.CgroupParent)
	case os.Geteuid() == 0:
		parent = filepath.Join(h.mount, "cellos")
	case !h.v2:
		return unsupported("cgroup v1 groups are not delegated to ordinary users")
	case h.own == "":
		return unsupported("this process has no cgroup below " + h.mount)
	default:
		parent = h.own
	}
	for parent != h.mount {
		if info, err := os.Stat(parent); err == nil && info.IsDir() {
			break
		}
		parent = filepath.Dir(parent)
	}
	if !h.v2 {
		return parent, Result{}
	}
	on := contains(filepath.Join(parent, "cgroup.subtree_control"), controller)
	offered := contains(filepath.Join(parent, "cgroup.controllers"), controller)
	switch {
	case on:
		return parent, Result{}
	case !offered:
		return unsupported(fmt.Sprintf("%s does not offer the %s controller", parent, controller))
	case unix.Faccessat(unix.AT_FDCWD, filepath.Join(parent, "cgroup.subtree_control"), unix.W_OK, unix.AT_EACCESS) != nil:
		return unsupported(fmt.Sprintf("the %s controller is off below %s", controller, parent))
	}
	// Turning it on for a trial would change the host for everyone.
	return "", Result{Answer: Works, Detail: fmt.Sprintf("%s offers the %s controller; a cell turns it on", parent, controller)}
}

func contains(file, word string) bool {
	b, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Fields(string(b)), word)
}

func remedyGroup(h hierarchy, controller string) string {
	switch {
	case os.Geteuid() == 0:
		return "in a container: run it with --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw, or set CELLOS_CGROUP_PARENT to a group that can be written"
	case !h.v2:
		return "run as root, or boot with systemd.unified_cgroup_hierarchy=1"
	}
	return fmt.Sprintf("run under: systemd-run --user --scope -p Delegate=yes (and, as root, once: mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=memory cpu pids\\n' > /etc/systemd/system/user@.service.d/cellos.conf && systemctl daemon-reload), so that %s is delegated", controller)
}

// sweep removes the groups of probing processes that were killed.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, group := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(group), groupPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(group) // one in use is refused
		}
	}
}

// tryCgroup makes a group with a limit, enters it and leaves it again.
func tryCgroup(args []string) (note string, err error) {
	if len(args) != 4 {
		return "", errors.New("want group, own group, file, value")
	}
	group, own, file, value := args[0], args[1], args[2], args[3]
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", at("make a group in "+filepath.Dir(group), err)
	}
	defer func() { err = errors.Join(err, at("remove a group", os.Remove(group))) }()
	if err := writeFile(filepath.Join(group, file), value); err != nil {
		return "", at("set "+file, err)
	}
	// Version 1 lets a thread enter, and does not wait for the others as
	// the whole process would. Version 2 has no such file.
	members := "tasks"
	if _, err := os.Stat(filepath.Join(group, members)); err != nil {
		members = "cgroup.procs"
	}
	if err := writeFile(filepath.Join(group, members), "0"); err != nil {
		return "", at("enter a group", err)
	}
	if err := writeFile(filepath.Join(own, members), "0"); err != nil {
		return "", at("leave a group", err)
	}
	return filepath.Dir(group), nil
}

package probe

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// A refusal is the step of a trial that failed.
type refusal struct {
	step  string
	errno syscall.Errno
	// text replaces the words for errno.
	text  string
	cause error // nil: errno
}

func (r *refusal) Error() string {
	if r.text != "" {
		return r.step + ": " + r.text
	}
	return r.step + ": " + r.errno.Error()
}

func (r *refusal) Unwrap() error {
	if r.cause != nil {
		return r.cause
	}
	return r.errno
}

// at names the step of a trial that failed. It returns nil for nil.
func at(step string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return &refusal{step: step, errno: syscall.EIO, text: err.Error()}
	}
	r := &refusal{step: step, errno: errno}
	if err != error(errno) {
		r.text = err.Error()
	}
	return r
}

// Step names the step of a trial that failed, for abilities that are defined
// elsewhere. It returns nil for nil.
func Step(step string, err error) error { return at(step, err) }

// Judge turns the end of a trial into an answer. What was forbidden is
// remedied in the way of inContainer, what is not there in that of inKernel.
func Judge(note string, err error, inContainer, inKernel string) Result {
	return denied(judge(note, err), err, inContainer, inKernel)
}

// judge turns the end of a trial into an answer. A refusal says no; whatever
// may be otherwise the next time says nothing.
func judge(note string, err error) Result {
	if err == nil {
		return Result{Answer: Works, Detail: note}
	}
	var r *refusal
	if !errors.As(err, &r) {
		return Result{Answer: Unknown, Detail: err.Error()}
	}
	switch r.errno {
	case syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.EROFS,
		syscall.ENODEV, syscall.ENOENT, syscall.ENXIO, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOTDIR,
		syscall.EADDRNOTAVAIL:
		return Result{Answer: Unsupported, Detail: r.Error()}
	}
	return Result{Answer: Unknown, Detail: r.Error()}
}

// facts are the settings of a host that explain a refusal. They are never
// what an answer rests on.
type facts struct {
	uid int
	// exe is the running program.
	exe string
	// filtered is true if a seccomp filter binds this process, as in most
	// containers.
	filtered bool
	// mapped is false if this user namespace lacks the ids of cells.
	mapped bool
	// Sysctls, empty where the kernel has none of the name.
	usernsClone    string // kernel.unprivileged_userns_clone
	usernsAppArmor string // kernel.apparmor_restrict_unprivileged_userns
	usernsMax      string // user.max_user_namespaces
}

// Remedies that several abilities share.
const (
	remedyUnfilter = "in a container: run it with --security-opt seccomp=unconfined, or with a seccomp profile that lets this through"
	remedyUnmask   = "in a container: run it with --security-opt systempaths=unconfined (Docker), --security-opt unmask=ALL (Podman) or procMount: Unmasked (Kubernetes)"
	remedyAdmin    = "in a container: run it with --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
)

// userNamespace explains why there is no user namespace.
func (f facts) userNamespace(r Result, err error) Result {
	if r.Answer == Works {
		return r
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EUSERS) {
		if f.usernsMax == "0" {
			r.Answer = Unsupported
			r.Detail = "user.max_user_namespaces is 0"
			r.Remedy = "sysctl -w user.max_user_namespaces=15000"
			return r
		}
		r.Detail = "as many user namespaces exist as the host allows (user.max_user_namespaces is " + f.usernsMax + ")"
		r.Remedy = "sysctl -w user.max_user_namespaces=N with a larger N"
		return r
	}
	if r.Answer != Unsupported {
		return r
	}
	switch {
	case errors.Is(err, errNotExecutable):
		r.Remedy = fmt.Sprintf("chmod 0755 %s: the ids of a cell must be able to execute it", f.exe)
	case errors.Is(err, syscall.EINVAL):
		r.Remedy = "use a kernel with CONFIG_USER_NS"
	case f.uid != 0 && f.usernsClone == "0":
		r.Detail += " (kernel.unprivileged_userns_clone is 0)"
		r.Remedy = "sysctl -w kernel.unprivileged_userns_clone=1"
	case f.uid != 0 && f.usernsAppArmor == "1":
		r.Detail += " (kernel.apparmor_restrict_unprivileged_userns is 1)"
		r.Remedy = appArmorProfile(f.exe)
	case f.uid == 0 && !f.mapped:
		r.Detail += " (this user namespace lacks the ids of cells)"
		r.Remedy = "in a container: run it without a user namespace of its own (--userns=host), or as an ordinary user"
	case f.filtered:
		r.Detail += " (a seccomp filter binds this process)"
		r.Remedy = remedyUnfilter
	default:
		r.Remedy = "leave the chroot, if this is one; " + remedyAdmin
	}
	return r
}

// appArmorProfile lets one program make user namespaces (apparmor.d(5)).
func appArmorProfile(exe string) string {
	return fmt.Sprintf(`printf '%%s\n' 'abi <abi/4.0>,' 'include <tunables/global>' 'profile cellos "%s" flags=(unconfined) {' '  userns,' '}' > /etc/apparmor.d/cellos && apparmor_parser -r /etc/apparmor.d/cellos`, exe)
}

// denied adds the remedy for what containers refuse, and the one for what the
// kernel does not have.
func denied(r Result, err error, inContainer, inKernel string) Result {
	if r.Answer != Unsupported {
		return r
	}
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		r.Remedy = inContainer
	} else {
		r.Remedy = inKernel
	}
	return r
}

// errNotExecutable is a child that could not be started.
var errNotExecutable = errors.New("the ids of a cell cannot execute it")

// mapsIDs reports whether a user namespace has all ids of a range
// (/proc/PID/uid_map, user_namespaces(7)).
func mapsIDs(uidMap string, first, count uint64) bool {
	for line := range strings.Lines(uidMap) {
		var inside, outside, length uint64
		if n, err := fmt.Sscan(line, &inside, &outside, &length); n != 3 || err != nil {
			continue
		}
		if inside <= first && first+count <= inside+length {
			return true
		}
	}
	return false
}

package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// arg0 is the name under which a child is executed.
const arg0 = "cellos-probe"

// firstID is the host's id 0 of a child's user namespace when root makes it,
// as many as a cell has (DESIGN: they begin above). lastID is what the child
// has inside.
const (
	firstID = 0x6fff0000
	idCount = 1 << 16
	lastID  = idCount - 1
)

// maxReport bounds what a child may say.
const maxReport = 1 << 16

// capabilities are those of capabilities(7) that the set-up of a cell may use,
// in the cell's own user namespace.
var capabilities = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE,
	unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT, unix.CAP_SYS_ADMIN,
}

// A trial is what a child tries, in namespaces of its own.
type trial struct {
	task string // a case of runTask
	args []string
	// flags are namespaces (clone(2)). With a user namespace the child has
	// the capabilities of a cell's PID 1 there.
	flags uintptr
	// unmapped is a user namespace without ids.
	unmapped bool
	// control, if not nil, is the child's descriptor 3.
	control *os.File
}

// report is what a child says at its end, as JSON.
type report struct {
	Note  string        `json:"note,omitempty"`
	Step  string        `json:"step,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	Text  string        `json:"text,omitempty"`
}

// run starts the child and waits for what it says. It is killed when ctx is
// done, and by its parent's death.
func (t trial) run(ctx context.Context) (note string, err error) {
	// The child gets a signal when the thread that made it ends
	// (PR_SET_PDEATHSIG), so that must not happen before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out bytes.Buffer
	cmd := t.command(ctx)
	cmd.Stdout = &limitedWriter{w: &out, left: maxReport}
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case cmd.ProcessState == nil: // it did not start
		return "", t.startError(err)
	}
	var r report
	if jsonErr := json.Unmarshal(out.Bytes(), &r); jsonErr != nil {
		return "", fmt.Errorf("the child of this probe ended early: %w", errors.Join(err, jsonErr))
	}
	if r.Step != "" {
		return "", &refusal{step: r.Step, errno: r.Errno, text: r.Text}
	}
	return r.Note, nil
}

func (t trial) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{arg0, t.task}, t.args...)
	cmd.Env = []string{}
	if t.control != nil {
		cmd.ExtraFiles = []*os.File{t.control}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: t.flags, Pdeathsig: syscall.SIGKILL}
	if t.flags&syscall.CLONE_NEWUSER == 0 || t.unmapped {
		return cmd
	}
	cmd.SysProcAttr.AmbientCaps = capabilities
	if os.Geteuid() == 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: lastID, Gid: lastID}
		return cmd
	}
	// An ordinary user's process cannot map the ids of its child if it is
	// not dumpable: the child does.
	cmd.Args = append([]string{arg0, "mapped", strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())}, cmd.Args[1:]...)
	return cmd
}

// startError is why a child could not be made. Only the exec is refused with
// EACCES.
func (t trial) startError(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	if errno == syscall.EACCES {
		return &refusal{step: "execute this program", errno: errno, text: errNotExecutable.Error(), cause: errNotExecutable}
	}
	return &refusal{step: "make the namespaces", errno: errno}
}

// limitedWriter drops what is too much.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func init() {
	if len(os.Args) > 1 && os.Args[0] == arg0 {
		os.Exit(child(os.Args[1:]))
	}
}

// child runs one task on the first thread and says how it went.
func child(args []string) int {
	runtime.LockOSThread()
	var r report
	note, err := func() (string, error) {
		if args[0] == "mapped" && len(args) > 3 {
			if err := mapOwnIDs(args[1], args[2]); err != nil {
				return "", err
			}
			args = args[3:]
		}
		return runTask(args[0], args[1:])
	}()
	r.Note = note
	if err != nil {
		var ref *refusal
		if !errors.As(err, &ref) {
			ref = &refusal{step: args[0], errno: syscall.EIO, text: err.Error()}
		}
		r = report{Step: ref.step, Errno: ref.errno, Text: ref.text}
	}
	b, err := json.Marshal(r)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		return 1
	}
	return 0
}

// mapOwnIDs maps the caller's ids to themselves (user_namespaces(7)).
func mapOwnIDs(uid, gid string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return at("map the caller's ids", err)
	}
	for _, f := range [...]struct{ path, text string }{
		{"/proc/self/setgroups", "deny"},
		{"/proc/self/gid_map", gid + " " + gid + " 1\n"},
		{"/proc/self/uid_map", uid + " " + uid + " 1\n"},
	} {
		if err := writeFile(f.path, f.text); err != nil {
			return at("map the caller's ids", err)
		}
	}
	return nil
}

// writeFile writes to an existing file of /proc or a cgroup, in one write.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// runTask is every task of a child.
func runTask(name string, args []string) (note string, err error) {
	switch name {
	case "user":
		return "", tryUser()
	case "net":
		return "", tryNet()
	case "mount":
		return "", tryMount()
	case "pid":
		return "", tryPID()
	case "uts":
		return "", at("set the host name", unix.Sethostname([]byte("cell")))
	case "proc":
		return tryProc()
	case "files":
		return "", tryFiles()
	case "ports":
		return "", tryPorts()
	case "processes":
		return "", tryProcessLimit()
	case "overlay":
		return "", tryOverlay()
	case "seccomp":
		return "", trySeccomp()
	case "idmap":
		return tryIDMap(args)
	case "wait":
		_, err := io.Copy(io.Discard, os.Stdin)
		return "", err
	case "cgroup":
		return tryCgroup(args)
	case "tun":
		return "", tryTun()
	case "kvm":
		return tryKVM()
	case "sockets":
		return "", serveSockets()
	}
	return "", fmt.Errorf("%q is no task", name)
}

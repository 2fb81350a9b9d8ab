// Command probe is the workload of the conformance suite: it does one thing
// in a cell and prints what it saw.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ready is the line that says that what was asked for is in place.
const ready = "ready"

func main() {
	what, arg := os.Args[1], ""
	if len(os.Args) > 2 {
		arg = os.Args[2]
	}
	do, ok := actions[what]
	if !ok {
		fmt.Fprintln(os.Stderr, "probe: no action", what)
		os.Exit(2)
	}
	if err := do(arg); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

var actions map[string]func(string) error

func init() {
	actions = map[string]func(string) error{
		"exit":    exit,
		"die":     die,
		"env":     env,
		"fds":     fds,
		"status":  status,
		"limits":  limits,
		"sleep":   sleep,
		"deaf":    deaf,
		"on-term": onTerm,
		"orphans": orphans,
		"stopped": stopped,
		"storm":   storm,
		"output":  output,
		"burn":    burn,
		"links":   links,
		"listen":  listen,
		"clogged": clogged,
		"dial":    dial,
		"attack":  attack,
		"canary":  canaries,
		"cat":     cat,
		"foreign": foreign,
		"where":   where,
	}
}

func exit(code string) error {
	n, err := strconv.Atoi(code)
	if err != nil {
		return err
	}
	os.Exit(n)
	return nil
}

func die(sig string) error {
	n, err := strconv.Atoi(sig)
	if err != nil {
		return err
	}
	// The Go runtime has handlers; what it executes has none.
	return syscall.Exec("/bin/sh", []string{"sh", "-c", fmt.Sprintf("kill -%d $$", n)}, nil)
}

func env(string) error {
	for _, v := range os.Environ() {
		fmt.Printf("%q\n", v)
	}
	return nil
}

// fds prints the descriptors that this process was started with: those that
// do not close on exec, for else they would have. The Go runtime's all do.
func fds(string) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(n), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC != 0 {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			return err
		}
		fmt.Println(n, target)
	}
	return nil
}

func status(string) error {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	fmt.Printf("%suid %d\ngid %d\nparent %d\n", text, os.Getuid(), os.Getgid(), os.Getppid())
	sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	fmt.Printf("leader %v\n", int(sid) == os.Getpid())
	return nil
}

func limits(string) error {
	text, err := os.ReadFile("/proc/self/limits")
	fmt.Print(string(text))
	return err
}

func sleep(string) error {
	fmt.Println(ready)
	return syscall.Exec("/bin/sleep", []string{"sleep", "1000000"}, nil)
}

// deaf ignores every signal that can be.
func deaf(string) error {
	for s := syscall.Signal(1); s < 64; s++ {
		signal.Ignore(s)
	}
	return sleep("")
}

func onTerm(code string) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println(ready)
	<-term
	return exit(code)
}

// spawn starts this program again, in a session of its own.
func spawn(action, arg string, out *os.File) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", action, arg)
	cmd.Stdout = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// orphans leaves processes behind that are in sessions of their own, have no
// parent but PID 1, ignore signals and hold the output open.
func orphans(arg string) error {
	n, again := strings.CutSuffix(arg, "/")
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	if !again {
		// The middle process ends, which makes its children orphans.
		middle, err := spawn("orphans", arg+"/", os.Stdout)
		if err != nil {
			return err
		}
		return middle.Wait()
	}
	for range count {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe", "deaf")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.Stdout, cmd.Stderr = w, os.Stdout
		if err := cmd.Start(); err != nil {
			return err
		}
		w.Close()
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			return err
		}
	}
	fmt.Println(ready)
	return nil
}

// stopped stops a child and then itself.
func stopped(string) error {
	child, err := spawn("sleep", "", nil)
	if err != nil {
		return err
	}
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	fmt.Println(ready)
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return err
	}
	// Another thread may be the first to notice.
	time.Sleep(time.Hour)
	return nil
}

// storm keeps starting processes that start processes, within a bound that
// spares the machine that runs the tests.
func storm(depth string) error {
	d, err := strconv.Atoi(depth)
	if err != nil {
		return err
	}
	fmt.Println(ready)
	for {
		if d > 0 {
			for range 4 {
				_, _ = spawn("storm", strconv.Itoa(d-1), nil)
			}
			d = 0
		}
		cmd := exec.Command("/bin/true")
		_ = cmd.Run()
	}
}

func output(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(strings.Repeat("x", n))
	return err
}

// burn uses this many milliseconds of processor time.
func burn(ms string) error {
	n, err := strconv.Atoi(ms)
	if err != nil {
		return err
	}
	for {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			return err
		}
		if used := r.Utime.Nano() + r.Stime.Nano(); used > int64(n)*int64(time.Millisecond) {
			return nil
		}
	}
}

func links(string) error {
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, l := range list {
		addrs, err := l.Addrs()
		if err != nil {
			return err
		}
		fmt.Println(l.Name, l.Flags&net.FlagUp != 0, addrs)
	}
	return nil
}

// listen serves one connection and says back what it reads.
func listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println(ready)
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(line))
	return err
}

// clogged listens on a port of 127.0.0.1 with the shortest queue there is and
// accepts nothing: when it is full, connecting takes for ever.
func clogged(port string) error {
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		return err
	}
	return sleep("")
}

// dial sends a line to network!address and prints the line that comes back.
func dial(where string) error {
	network, addr, _ := strings.Cut(where, "!")
	conn, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, "ping"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	fmt.Print(line)
	return err
}

// attack sends PID 1 every signal, then tries to get at it and prints how far
// it came. It does not with arg "signals": what root traces it can stop.
func attack(arg string) error {
	for s := syscall.Signal(1); s <= 64; s++ {
		_ = syscall.Kill(1, s)
	}
	if arg == "signals" {
		fmt.Println(ready)
		return nil
	}
	for _, path := range []string{"/proc/1/exe", "/proc/1/mem", "/proc/1/fd/3", "/proc/1/environ"} {
		if f, err := os.Open(path); err == nil {
			fmt.Println("opened", path)
			f.Close()
		}
	}
	if target, err := os.Readlink("/proc/1/fd/3"); err == nil {
		fmt.Println("read link to", target)
	}
	const seize = 0x4206 // PTRACE_SEIZE
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, seize, 1, 0, 0, 0, 0); errno == 0 {
		fmt.Println("traced")
	}
	fmt.Println(ready)
	return nil
}

func where(string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	fmt.Println(dir, len(entries))
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600); err != nil {
		return err
	}
	for _, kind := range []string{"net", "mnt", "pid", "ipc", "uts", "user"} {
		id, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return err
		}
		fmt.Println(id)
	}
	return nil
}

// foreign makes a system call of another ABI, which ends this process. What it
// asks for is its own process id.
func foreign(string) error {
	const x32 = 0x40000000
	pid, _, errno := syscall.RawSyscall(x32|syscall.SYS_GETPID, 0, 0, 0)
	fmt.Println("survived:", pid, errno)
	return nil
}

// cat prints files, and of those that are not there that they are not.
func cat(names string) error {
	for name := range strings.FieldsSeq(names) {
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Println("no", name)
			continue
		}
		fmt.Printf("%s", text)
	}
	return nil
}

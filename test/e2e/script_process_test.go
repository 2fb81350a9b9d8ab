package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/internal/testenv"
)

// background is a program that a script started and has not waited for.
type background struct {
	cmd      *exec.Cmd
	out, err string // files
	done     chan struct{}
	code     int
}

// command is a program as the script's user runs it, with the exported
// variables and those that stand in front of it.
func (s *script) command(words []string) (*exec.Cmd, error) {
	env := map[string]string{}
	for name, value := range s.exported {
		env[name] = value
	}
	for len(words) > 0 {
		name, value, ok := strings.Cut(words[0], "=")
		if !ok {
			break
		}
		env[name] = value
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, errors.New("no program to run")
	}
	path := words[0]
	if !strings.Contains(path, "/") {
		for dir := range strings.SplitSeq(env["PATH"], ":") {
			if info, err := os.Stat(filepath.Join(dir, path)); err == nil && info.Mode()&0o111 != 0 {
				path = filepath.Join(dir, path)
				break
			}
		}
	}
	cmd := exec.Command(path, words[1:]...)
	cmd.Args[0] = words[0]
	cmd.Dir = s.ts.MkAbs(".")
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if s.who.uid >= 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.who.uid), Gid: uint32(s.who.uid)}
	}
	return cmd, nil
}

func (s *script) exits(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b, err := s.launch("last", args[1:])
	if err != nil {
		return err
	}
	return s.join(b, want)
}

func (s *script) start(args []string) error {
	if len(args) < 2 || s.background[args[0]] != nil {
		return errors.New("usage: start NAME PROGRAM ARG…, with a new name")
	}
	b, err := s.launch(args[0], args[1:])
	if err != nil {
		return err
	}
	s.background[args[0]] = b
	return nil
}

func (s *script) ends(args []string) error {
	if len(args) != 2 || s.background[args[1]] == nil {
		return errors.New("usage: ends CODE NAME, of a program that was started")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	b := s.background[args[1]]
	delete(s.background, args[1])
	return s.join(b, want)
}

// launch starts a program with its output in files, which a script can look
// at while it runs, and which nobody has to read.
func (s *script) launch(name string, words []string) (*background, error) {
	cmd, err := s.command(words)
	if err != nil {
		return nil, err
	}
	b := &background{
		cmd: cmd, done: make(chan struct{}),
		out: filepath.Join(s.work, name+".out"), err: filepath.Join(s.work, name+".err"),
	}
	stdout, err := os.Create(b.out)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.Create(b.err)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		b.code = exitCode(cmd.Wait())
		close(b.done)
	}()
	return b, nil
}

// join waits for the end of a program and shows its output to the script.
func (s *script) join(b *background, want int) error {
	select {
	case <-b.done:
	case <-time.After(deadline):
		_ = b.cmd.Process.Kill()
		<-b.done
		return fmt.Errorf("%s did not end within %v", b.cmd, deadline)
	}
	for _, stream := range []struct {
		w    io.Writer
		path string
	}{{s.ts.Stdout(), b.out}, {s.ts.Stderr(), b.err}} {
		content, err := os.ReadFile(stream.path)
		if err != nil {
			return err
		}
		if _, err := stream.w.Write(content); err != nil {
			return err
		}
	}
	if b.code != want {
		return fmt.Errorf("%s: exit %d, want %d", b.cmd.Args[0], b.code, want)
	}
	return nil
}

// endBackground kills what a script that failed has left.
func (s *script) endBackground() {
	for _, b := range s.background {
		_ = b.cmd.Process.Signal(syscall.SIGCONT)
		_ = b.cmd.Process.Kill()
		<-b.done
	}
}

func (s *script) await(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: await FILE REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	return eventually(func() error {
		content, err := os.ReadFile(s.ts.MkAbs(args[0]))
		if err == nil && !re.Match(content) {
			err = fmt.Errorf("no match for %q in %s:\n%s", args[1], args[0], content)
		}
		return err
	})
}

func (s *script) signal(args []string) error {
	if len(args) < 2 || s.background[args[1]] == nil {
		return errors.New("usage: signal SIGNAL NAME [init], of a program that was started")
	}
	sig := unix.SignalNum("SIG" + args[0])
	if sig == 0 {
		return fmt.Errorf("no signal is called %s", args[0])
	}
	pid := s.background[args[1]].cmd.Process.Pid
	if len(args) == 2 {
		return syscall.Kill(pid, sig)
	}
	for _, p := range testenv.Descendants(pid) {
		if cmdline(p.PID) == "cellos-init\x00" {
			return syscall.Kill(p.PID, sig)
		}
	}
	return fmt.Errorf("%s has no cell", args[1])
}

// dead waits until every workload of the script has died.
func (s *script) dead([]string) error {
	return eventually(func() error {
		if alive := s.alive(); len(alive) != 0 {
			return fmt.Errorf("still alive: %v", alive)
		}
		return nil
	})
}

// residue checks that nothing is left of the cells of this script.
func (s *script) residue(args []string) error {
	if len(args) != 1 || args[0] != "none" {
		return errors.New("usage: residue none")
	}
	state, run := s.ts.Getenv("CELLOS_STATE_DIR"), s.ts.Getenv("CELLOS_RUNTIME_DIR")
	for _, dir := range []string{run, filepath.Join(state, "journal", "open")} {
		left, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if len(left) != 0 {
			return fmt.Errorf("%s still has %v", dir, left)
		}
	}
	reserves, _ := filepath.Glob(filepath.Join(state, "journal", "runs", "*.reserve"))
	if len(reserves) != 0 {
		return fmt.Errorf("reserves that nobody freed: %v", reserves)
	}
	if alive := s.alive(); len(alive) != 0 {
		return fmt.Errorf("still alive: %v", alive)
	}
	return nil
}

// alive are the processes that carry the mark.
func (s *script) alive() (found []string) {
	for _, p := range testenv.Processes() {
		if p.State == 'Z' {
			continue
		}
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), file))
			if err == nil && bytes.Contains(b, []byte(s.mark)) {
				found = append(found, fmt.Sprintf("%d (%s)", p.PID, p.Name))
				break
			}
		}
	}
	return found
}

func (s *script) tmpfs(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: tmpfs DIR SIZE")
	}
	dir := s.ts.MkAbs(args[0])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return s.mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+args[1])
}

func (s *script) readonly(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: readonly DIR")
	}
	dir := s.ts.MkAbs(args[0])
	if err := s.mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	return syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, "")
}

func (s *script) mount(source, target, kind string, flags uintptr, data string) error {
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	s.ts.Defer(func() { _ = syscall.Unmount(target, syscall.MNT_DETACH) })
	return nil
}

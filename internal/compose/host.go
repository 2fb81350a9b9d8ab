package compose

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/plan"
)

// resolvConf is the host's resolver configuration (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// maxResolvConfLines bounds what is read of it.
const maxResolvConfLines = 1000

// Nameservers are the resolvers of the host, in order. None is not an error:
// a cell that needs one is then refused.
func Nameservers() []netip.AddrPort {
	f, err := os.Open(resolvConf)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []netip.AddrPort
	lines := bufio.NewScanner(f)
	for n := 0; n < maxResolvConfLines && lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(addr, 53))
		}
	}
	return out
}

// Dirs are the two directories of an installation.
type Dirs struct {
	State   string // journal and keys
	Runtime string // live cells; gone after a reboot
	// Fallback is true if State is not where it should be because that place
	// cannot be written.
	Fallback bool
}

// FindDirs decides where state and runtime directories are, and makes them. A
// configured place that cannot be used is an error. A default place that
// cannot be used is one too, except under profile portable, where a directory
// of the user's own below the temporary directory takes its place.
func FindDirs(s *Settings, getenv func(string) string) (Dirs, error) {
	d := Dirs{State: s.StateDir, Runtime: s.RuntimeDir}
	if d.Runtime == "" {
		d.Runtime = defaultRuntime(getenv)
		if makeDir(d.Runtime) != nil && s.Profile == plan.Portable {
			d.Runtime = filepath.Join(privateTemp(), "run")
		}
	}
	if err := makeDir(d.Runtime); err != nil {
		return d, fmt.Errorf("runtime directory: %w; set CELLOS_RUNTIME_DIR to a directory of your own", err)
	}
	if d.State == "" {
		d.State = defaultState(getenv)
		if makeDir(d.State) != nil && s.Profile == plan.Portable {
			d.State, d.Fallback = filepath.Join(privateTemp(), "state"), true
		}
	}
	if err := makeDir(d.State); err != nil {
		return d, fmt.Errorf("state directory: %w; set CELLOS_STATE_DIR to a directory of your own", err)
	}
	return d, nil
}

// StateDir is where the journal and the keys of this user are, without making
// anything.
func StateDir(getenv func(string) string) string {
	if dir := getenv("CELLOS_STATE_DIR"); dir != "" {
		return dir
	}
	return defaultState(getenv)
}

// RuntimeDir is where the live cells of this user are, without making
// anything.
func RuntimeDir(getenv func(string) string) string {
	if dir := getenv("CELLOS_RUNTIME_DIR"); dir != "" {
		return dir
	}
	return defaultRuntime(getenv)
}

func defaultState(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/var/lib/cellos"
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cellos")
	}
	return filepath.Join(getenv("HOME"), ".local", "state", "cellos")
}

func defaultRuntime(getenv func(string) string) string {
	if os.Geteuid() == 0 {
		return "/run/cellos"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cellos")
	}
	return filepath.Join(privateTemp(), "run")
}

// privateTemp is a directory of this user below the temporary directory.
func privateTemp() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("cellos-%d", os.Geteuid()))
}

// makeDir makes a directory that only we can write, and checks that this is
// what is there: anyone may have made it first in a shared place.
func makeDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%q is not an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Below /tmp the parent matters as much as the directory itself.
	for _, path := range []string{dir, filepath.Dir(dir)} {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("cannot tell who owns it")
		}
		owner := int(stat.Uid)
		foreign := owner != os.Geteuid() && owner != 0
		open := info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0
		if path == dir && (!info.IsDir() || foreign || info.Mode().Perm()&0o022 != 0) || path != dir && (foreign || open) {
			return fmt.Errorf("%s can be changed by other users", path)
		}
	}
	// A mode says nothing about read-only file systems.
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write", Path: dir, Err: err}
	}
	return nil
}

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cellos.io/cellos/internal/testenv"
)

// Scripts read like a user's terminal. Beside the commands of testscript they
// have these:
//
//	export NAME=VALUE            a variable of every program that is run from here on
//	exits CODE PROGRAM ARG…      run to the end, with exactly this exit code; NAME=VALUE may stand
//	                             in front of the program, as in a shell
//	start NAME PROGRAM ARG…      the same, in the background; its output is in NAME.out and NAME.err
//	await FILE REGEXP            until a line of the file matches
//	signal SIGNAL NAME [init]    to a background program, or to PID 1 of its cell
//	ends CODE NAME               a background program ends, with exactly this exit code
//	expand FILE…                 replace $VARIABLES in files
//	dnsserver NAME               a resolver at $NAME that answers A; what it was asked is in NAME.log
//	[!] event FILE TYPE FIELD=VALUE…  an event of which all this is true; FIELD~REGEXP as well
//	result FILE FIELD=VALUE…     the same for a result file; $runId is then that of the run
//	capture NAME                 $NAME is what the last program wrote to standard output
//	trail complete|denied ARG…   audit verify ARG… agrees, and every run ends with destroyed and the bundle
//	dead                         until nothing of a cell lives whose document has $MARK
//	residue none                 no live cell, no open run, no process of this script
//	nowhere TEXT                 no file that a run wrote has the text
//	empty DIR…                   there is no file below
//	tamper HOW FILE LINE…        change a trail as an attacker would
//	tmpfs DIR SIZE, readonly DIR a file system of this size, or one that nobody can write (root)
//
// They run as every user for whom the promise must hold, in a directory of
// that user's own, with state/ and run/ and events.jsonl in it.
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	positive := func(f func(*script, []string) error) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("this command cannot be negated")
			}
			ts.Check(f(scriptOf(ts), args))
		}
	}
	return map[string]func(*testscript.TestScript, bool, []string){
		"export":    positive((*script).export),
		"exits":     positive((*script).exits),
		"start":     positive((*script).start),
		"await":     positive((*script).await),
		"signal":    positive((*script).signal),
		"ends":      positive((*script).ends),
		"expand":    positive((*script).expand),
		"dnsserver": positive((*script).dnsServer),
		"result":    positive((*script).result),
		"trail":     positive((*script).trail),
		"capture":   positive((*script).capture),
		"dead":      positive((*script).dead),
		"residue":   positive((*script).residue),
		"nowhere":   positive((*script).nowhere),
		"empty":     positive((*script).empty),
		"tamper":    positive((*script).tamper),
		"tmpfs":     positive((*script).tmpfs),
		"readonly":  positive((*script).readonly),
		"event": func(ts *testscript.TestScript, neg bool, args []string) {
			ts.Check(scriptOf(ts).event(neg, args))
		},
	}
}

// script is one running script.
type script struct {
	ts         *testscript.TestScript
	who        user
	work       string
	mark       string // in the environment of every workload that has $MARK in its document
	exported   map[string]string
	background map[string]*background
}

type scriptKey struct{}

func scriptOf(ts *testscript.TestScript) *script {
	s := ts.Value(scriptKey{}).(*script)
	s.ts = ts
	return s
}

// TestScripts runs scripts/*.txtar, and those of scripts/mount where file
// systems can be mounted.
func TestScripts(t *testing.T) {
	need(t, "netns")
	t.Parallel()
	for _, who := range users(t) {
		t.Run(who.name, func(t *testing.T) {
			t.Parallel()
			runScripts(t, who, "scripts")
		})
	}
}

func TestScriptsWithMounts(t *testing.T) {
	need(t, "netns", "root", "mount")
	t.Parallel()
	runScripts(t, invoker, "scripts/mount")
}

func runScripts(t *testing.T, who user, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                dir,
		Cmds:               scriptCommands(),
		WorkdirRoot:        who.dir(t),
		RequireUniqueNames: true,
		Setup:              func(env *testscript.Env) error { return setUpScript(env, who) },
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return who.root, nil
			}
			return testenv.Has(name) == nil, nil
		},
	})
}

func setUpScript(env *testscript.Env, who user) error {
	s := &script{
		who: who, work: env.WorkDir, mark: fmt.Sprintf("cellos-script-%d-%x", os.Getpid(), rand.Uint64()),
		background: map[string]*background{},
	}
	env.Values[scriptKey{}] = s
	env.Defer(s.endBackground)
	s.exported = map[string]string{
		"PATH":                      bin + ":/usr/local/bin:/usr/bin:/bin",
		"HOME":                      s.work,
		"WORK":                      s.work,
		"CELLOS_DEPLOYMENT_PROFILE": "portable",
		"CELLOS_CELL_BACKEND":       "stub",
		"CELLOS_SUBPROCESS_UNSHARE": "net,mnt,ipc,uts",
		"CELLOS_STATE_DIR":          filepath.Join(s.work, "state"),
		"CELLOS_RUNTIME_DIR":        filepath.Join(s.work, "run"),
		"CELLOS_JSONL_SINK_PATH":    filepath.Join(s.work, "events.jsonl"),
	}
	for name, value := range s.exported {
		env.Setenv(name, value)
	}
	env.Setenv("BIN", bin)
	env.Setenv("MARK", s.mark)
	if who.uid < 0 {
		return nil
	}
	return filepath.WalkDir(s.work, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, who.uid, who.uid))
	})
}

// export sets a variable for the programs of the script, and for the script.
func (s *script) export(args []string) error {
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return errors.New("usage: export NAME=VALUE…")
		}
		s.exported[name] = value
		s.ts.Setenv(name, value)
	}
	return nil
}

// expand replaces the variables of the script in files.
func (s *script) expand(patterns []string) error {
	var paths []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(s.ts.MkAbs(pattern))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("no file is %s: %v", pattern, err)
		}
		paths = append(paths, found...)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(os.Expand(string(b), s.ts.Getenv)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// eventually polls a condition until it holds or the deadline of a run is over.
func eventually(condition func() error) error {
	end := time.Now().Add(deadline)
	for {
		err := condition()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"cellos.io/cellos/event"
)

// The test binary plays these roles in processes of their own.
const (
	roleVar = "CELLOS_JOURNAL_TEST_ROLE"
	dirVar  = "CELLOS_JOURNAL_TEST_DIR"
)

// playRole is the life of a process that will be killed at any moment.
func playRole() int {
	signer, err := LoadSigner(func(string) string { return "" }, os.Getenv(dirVar))
	if err != nil {
		return fail(err)
	}
	j, err := Open(Options{Dir: os.Getenv(dirVar), Host: "host", Instance: fmt.Sprint(os.Getpid()), Signer: signer, Sync: SyncOff})
	if err != nil {
		return fail(err)
	}
	fmt.Println("ready")
	act := supervise
	if os.Getenv(roleVar) == "gc" {
		act = collect
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		if err := act(j); err != nil {
			return fail(err)
		}
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// supervise runs one cell's trail.
func supervise(j *Journal) error {
	id := event.NewID(time.Now())
	r, err := j.OpenRun(spec(id))
	if err != nil {
		return err
	}
	for range rand.IntN(20) {
		if _, err := r.Emit(event.ProcessSpawned{Program: "/bin/true"}); err != nil {
			return err
		}
	}
	return end(r)
}

func end(r *Run) error {
	_, err := r.Emit(destroyed)
	if err == nil {
		_, err = r.Emit(bundle(r))
	}
	return errors.Join(err, r.Seal())
}

// collect finishes what others left.
func collect(j *Journal) error {
	orphans, err := j.Orphans()
	if err != nil {
		return err
	}
	for _, o := range orphans {
		r, err := j.ResumeRun(o.RunID)
		switch {
		case errors.Is(err, ErrFinished), errors.Is(err, ErrLocked):
			continue
		case err != nil:
			return err
		}
		if r.Contents().Bundle {
			err = r.Seal()
		} else {
			err = end(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Two supervisors and a gc write at once and are killed at random. Whatever
// they leave can be finished, and every record that was there is.
func TestProcessesKilledAtRandom(t *testing.T) {
	dir := t.TempDir()
	kills := 20
	if testing.Short() {
		kills = 6
	}
	roles := []string{"supervisor", "supervisor", "gc"}
	procs := make([]*exec.Cmd, len(roles))
	start := func(i int) {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), roleVar+"="+roles[i], dirVar+"="+dir)
		cmd.Stderr = os.Stderr
		ready, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed before it does anything it would prove nothing.
		if _, err := ready.Read(make([]byte, 1)); err != nil {
			t.Fatalf("%s did not begin: %v", roles[i], err)
		}
		procs[i] = cmd
	}
	for i := range roles {
		start(i)
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range kills {
		// The moment is the point of the test; nothing is expected by then.
		<-time.After(time.Duration(5+random.IntN(60)) * time.Millisecond)
		i := random.IntN(len(roles))
		if err := procs[i].Process.Kill(); err != nil {
			t.Fatalf("%s ended by itself: %v, %v", roles[i], err, procs[i].Wait())
		}
		procs[i].Wait()
		start(i)
	}
	for _, p := range procs {
		p.Process.Kill()
		p.Wait()
	}

	signer, err := LoadSigner(func(string) string { return "" }, dir)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, signer); !r.Valid() {
		t.Errorf("before the last clean-up: %v", r.Faults[0])
	}
	finishOrphans(t, open(t, dir, func(o *Options) { o.Signer = signer }))
	report := wantComplete(t, dir, signer)
	wantTidy(t, dir)
	t.Logf("%d runs, %d records, %d kills", len(report.Runs), report.Records, kills)
}

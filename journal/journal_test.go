package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/sink"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		os.Exit(playRole())
	}
	os.Exit(testenv.Main(m))
}

func testSigner(tb testing.TB) event.Signer {
	tb.Helper()
	s, err := event.NewEd25519Signer("test", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func open(tb testing.TB, dir string, change ...func(*Options)) *Journal {
	tb.Helper()
	opts := Options{Dir: dir, Host: "host", Instance: "1", Signer: testSigner(tb), Sync: SyncOff}
	for _, c := range change {
		c(&opts)
	}
	j, err := Open(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { j.Close() })
	return j
}

func spec(id string) RunSpec {
	return RunSpec{Scope: event.Scope{SpecID: "spec", CellID: "cell-" + id, RunID: id}, SpecHash: "hash", MaxBytes: 64 << 20}
}

func openRun(tb testing.TB, j *Journal, id string) *Run {
	tb.Helper()
	r, err := j.OpenRun(spec(id))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func emit(tb testing.TB, r *Run, data event.Data) event.Ref {
	tb.Helper()
	ref, err := r.Emit(data)
	if err != nil {
		tb.Fatal(err)
	}
	return ref
}

var (
	admitted  = event.AdmissionDecided{Verdict: event.VerdictAllowed}
	destroyed = event.LifecycleDestroyed{Outcome: event.OutcomeSucceeded}
)

// bundle is what a supervisor would write at the end of r.
func bundle(r *Run) event.EvidenceBundle {
	c := r.Contents()
	return event.EvidenceBundle{ChainID: c.Spec.Scope.RunID, LastSeq: c.LastSeq, HeadDigest: c.Head, Counts: c.Counts}
}

// conclude ends a run as a supervisor does.
func conclude(tb testing.TB, r *Run) {
	tb.Helper()
	if err := r.Closing(); err != nil {
		tb.Fatal(err)
	}
	if !r.Contents().Bundle {
		if !r.Contents().Destroyed {
			emit(tb, r, destroyed)
		}
		emit(tb, r, bundle(r))
	}
	if err := r.Seal(); err != nil {
		tb.Fatal(err)
	}
}

// verify checks everything below a state directory.
func verify(tb testing.TB, dir string, signers ...event.Signer) *event.Report {
	tb.Helper()
	v := &event.Verifier{Keys: new(event.Keys)}
	for _, s := range append(signers, testSigner(tb)) {
		if key, ok := event.PublicKey(s); ok {
			if err := v.Keys.Add(s.KID(), key); err != nil {
				tb.Fatal(err)
			}
		}
	}
	read := func(path string, into func(string, *os.File) error) {
		f, err := os.Open(path)
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		if err := into(path, f); err != nil {
			tb.Fatal(err)
		}
	}
	read(HostPath(dir), func(n string, f *os.File) error { return v.HostChain(n, f) })
	paths, err := RunPaths(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range paths {
		v.Present(strings.TrimSuffix(filepath.Base(path), ".jsonl"))
		read(path, func(n string, f *os.File) error { return v.Runs(n, f) })
	}
	return v.Report()
}

func wantComplete(tb testing.TB, dir string, signers ...event.Signer) *event.Report {
	tb.Helper()
	r := verify(tb, dir, signers...)
	for _, f := range r.Faults {
		tb.Error(f)
	}
	if len(r.Unfinished) > 0 {
		tb.Errorf("unfinished: %v", r.Unfinished)
	}
	return r
}

// wantTidy checks that nothing but sealed journals is left.
func wantTidy(tb testing.TB, dir string) {
	tb.Helper()
	if open, _ := os.ReadDir(filepath.Join(Dir(dir), "open")); len(open) > 0 {
		tb.Errorf("still open: %v", open)
	}
	for _, pattern := range []string{"*.reserve", "*.torn"} {
		for _, sub := range []string{"", "runs"} {
			if left, _ := filepath.Glob(filepath.Join(Dir(dir), sub, pattern)); len(left) > 0 {
				tb.Errorf("left: %v", left)
			}
		}
	}
}

func TestRun(t *testing.T) {
	for _, envelope := range []event.Envelope{event.Flat, event.Wrapped} {
		for _, policy := range []SyncPolicy{SyncPhase, SyncAlways, SyncOff} {
			dir := t.TempDir()
			j := open(t, dir, func(o *Options) { o.Envelope, o.Sync = envelope, policy })
			j.Warm()
			r := openRun(t, j, "run-1")
			ref := emit(t, r, admitted)
			if ref.Seq != 0 || !event.IsID(ref.ID) || ref.Type != admitted.EventType() {
				t.Errorf("got %+v", ref)
			}
			if err := r.Sync(); err != nil {
				t.Error(err)
			}
			emit(t, r, event.IdentityMaterialized{KeyNames: []string{"TOKEN"}, LeaseID: "lease"})
			if c := r.Contents(); !c.Allowed || c.LeaseID != "lease" || len(c.Unrevoked) != 1 || c.Records() != 2 || len(c.Refs) != 2 {
				t.Errorf("got %+v", c)
			}
			emit(t, r, event.IdentityRevoked{KeyNames: []string{"TOKEN"}})
			if c := r.Contents(); c.LeaseID != "" || len(c.Unrevoked) != 0 {
				t.Errorf("got %+v", c)
			}
			conclude(t, r)
			if err := r.Seal(); err != nil {
				t.Errorf("sealed again: %v", err)
			}
			if _, err := r.Emit(admitted); !errors.Is(err, ErrEnded) {
				t.Errorf("after the end: %v", err)
			}
			report := wantComplete(t, dir)
			if report.Records != 7 || report.Host.Records != 2 {
				t.Errorf("%+v", report)
			}
			wantTidy(t, dir)
			wantNoSurplus(t, r.Path())
		}
	}
}

// wantNoSurplus checks that the space beyond the end was given back.
func wantNoSurplus(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if allocated := st.Blocks * 512; allocated > st.Size+64<<10 {
		t.Errorf("%s has %d bytes, %d allocated", path, st.Size, allocated)
	}
	if st.Mode&0o777 != 0o600 {
		t.Errorf("%s has mode %#o", path, st.Mode&0o777)
	}
}

func TestReserveIsAllocated(t *testing.T) {
	r := openRun(t, open(t, t.TempDir()), "run")
	var st unix.Stat_t
	if err := unix.Fstat(r.file.fd, &st); err != nil {
		t.Fatal(err)
	}
	if r.space.zeros == "" && (st.Blocks*512 < ClosingReserve || st.Size != 0) {
		t.Errorf("%d bytes long, %d allocated", st.Size, st.Blocks*512)
	}
}

func TestHostChainIsShared(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	var runs []*Run
	for i, j := range []*Journal{a, b, b, a, b} {
		runs = append(runs, openRun(t, j, "run-"+string(rune('a'+i))))
	}
	for _, r := range runs {
		emit(t, r, admitted)
		conclude(t, r)
	}
	if r := wantComplete(t, dir); r.Host.Records != 10 {
		t.Errorf("%+v", r.Host)
	}
}

func TestOpenRunRefuses(t *testing.T) {
	j := open(t, t.TempDir())
	openRun(t, j, "run")
	if _, err := j.OpenRun(spec("run")); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	for _, id := range []string{"", ".", "..", "a/b", "../x", "host-1", strings.Repeat("r", 129), "a\n"} {
		if _, err := j.OpenRun(spec(id)); err == nil {
			t.Errorf("%q was accepted", id)
		}
		if _, err := j.ResumeRun(id); err == nil {
			t.Errorf("%q was resumed", id)
		}
	}
}

func TestOpenUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(HostPath(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "state"), dir} {
		_, err := Open(Options{Dir: path, Signer: event.Unsigned})
		if err == nil || !strings.Contains(err.Error(), "CELLOS_STATE_DIR") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Open(Options{Dir: t.TempDir()}); err == nil {
		t.Error("opened without a signer")
	}
	for in, ok := range map[string]bool{"": true, "phase": true, "always": true, "off": true, "never": false} {
		if _, err := ParseSync(in); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// A write that fails half-way leaves no part of a record.
func TestShortWrite(t *testing.T) {
	for name, fail := range map[string]func(fd int, p []byte) (int, error){
		"short": func(fd int, p []byte) (int, error) { return unix.Write(fd, p[:len(p)/2]) },
		"short, then an error": func(fd int, p []byte) (int, error) {
			n, _ := unix.Write(fd, p[:1])
			return n, unix.ENOSPC
		},
		"nothing": func(int, []byte) (int, error) { return 0, unix.ENOSPC },
		"quota":   func(int, []byte) (int, error) { return -1, unix.EDQUOT },
	} {
		dir := t.TempDir()
		r := openRun(t, open(t, dir), "run")
		emit(t, r, admitted)
		r.file.write = fail
		if _, err := r.Emit(destroyed); !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
		interrupted := false
		r.file.write = func(fd int, p []byte) (int, error) {
			if !interrupted {
				interrupted = true
				return 0, unix.EINTR
			}
			return unix.Write(fd, p)
		}
		if c := r.Contents(); c.Records() != 1 {
			t.Errorf("%s: %+v", name, r.Contents())
		}
		conclude(t, r)
		wantComplete(t, dir)
	}
	r := openRun(t, open(t, t.TempDir()), "run")
	r.file.write = func(int, []byte) (int, error) { return 0, unix.EIO }
	if _, err := r.Emit(admitted); err == nil || errors.Is(err, ErrFull) {
		t.Errorf("EIO: %v", err)
	}
}

// What is torn and cannot be taken back is never written behind.
func TestBrokenFile(t *testing.T) {
	r := openRun(t, open(t, t.TempDir()), "run")
	fd := r.file.fd
	r.file.write = func(fd int, p []byte) (int, error) {
		r.file.fd = -1 // ftruncate will fail
		return unix.Write(fd, p[:3])
	}
	if _, err := r.Emit(admitted); err == nil || r.file.broken == nil {
		t.Errorf("got %v", err)
	}
	r.file.fd, r.file.write = fd, unix.Write
	if _, err := r.Emit(admitted); err == nil {
		t.Error("wrote behind a torn record")
	}
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	full := false
	j.allocate = func(fd int, mode uint32, off, length int64) error {
		if full {
			return syscall.ENOSPC
		}
		return unix.Fallocate(fd, mode, off, length)
	}
	r := openRun(t, j, "run")
	full = true
	big := event.CommandCompleted{Argv: []string{strings.Repeat("x", 4000)}}
	n := 0
	var err error
	for ; n < 1000 && err == nil; n++ {
		_, err = r.Emit(big)
	}
	if !errors.Is(err, ErrFull) || n < 10 {
		t.Fatalf("after %d records: %v", n, err)
	}
	if _, err := r.Emit(big); !errors.Is(err, ErrFull) {
		t.Errorf("again: %v", err)
	}
	if left := r.space.limit - r.file.size; left < ClosingReserve {
		t.Errorf("%d bytes are left for the closing", left)
	}
	full = false // of the host chain another file system would be full
	conclude(t, r)
	wantComplete(t, dir)
}

func TestNoReserve(t *testing.T) {
	for name, errno := range map[string]syscall.Errno{"space": unix.ENOSPC, "quota": unix.EDQUOT} {
		dir := t.TempDir()
		j := open(t, dir)
		j.allocate = func(int, uint32, int64, int64) error { return errno }
		if _, err := j.OpenRun(spec("run")); !errors.Is(err, ErrNoReserve) || !errors.Is(err, errno) {
			t.Errorf("%s: %v", name, err)
		}
		wantNothing(t, dir)
	}
	// The host chain needs room as well.
	dir := t.TempDir()
	j := open(t, dir)
	j.host.allocate = func(int, uint32, int64, int64) error { return unix.ENOSPC }
	if _, err := j.OpenRun(spec("run")); !errors.Is(err, ErrNoReserve) {
		t.Errorf("host: %v", err)
	}
	wantNothing(t, dir)
	j.host.allocate = unix.Fallocate
	j.host.write = func(int, []byte) (int, error) { return 0, unix.ENOSPC }
	if _, err := j.OpenRun(spec("run")); !errors.Is(err, ErrNoReserve) {
		t.Errorf("host write: %v", err)
	}
	wantNothing(t, dir)
}

// wantNothing checks that no run was ever there.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"runs", "open"} {
		if left, _ := os.ReadDir(filepath.Join(Dir(dir), sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
	if info, err := os.Stat(HostPath(dir)); err != nil || info.Size() > 0 {
		t.Errorf("host chain: %v, %v", info, err)
	}
}

// Without fallocate the reserve is a file of zeros.
func TestReserveFile(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	j.allocate = func(int, uint32, int64, int64) error { return unix.EOPNOTSUPP }
	j.host.allocate = j.allocate
	r := openRun(t, j, "run")
	zeros := r.Path() + ".reserve"
	if info, err := os.Stat(zeros); err != nil || info.Size() != ClosingReserve {
		t.Fatalf("%v, %v", info, err)
	}
	emit(t, r, admitted)
	if err := r.Closing(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(zeros); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	conclude(t, r)
	wantComplete(t, dir)
	wantTidy(t, dir)

	lost := openRun(t, j, "lost")
	lost.Close()
	again, err := j.ResumeRun("lost")
	if err != nil {
		t.Fatal(err)
	}
	conclude(t, again)
	wantComplete(t, dir)
	wantTidy(t, dir)
}

func TestBudget(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	s := spec("run")
	s.MaxBytes = 3000
	r, err := j.OpenRun(s)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Emit(event.ProcessSpawned{Program: "/bin/true"})
	}
	if !errors.Is(err, ErrBudget) || !strings.Contains(err.Error(), "eventsMaxBytes") {
		t.Errorf("got %v", err)
	}
	if info, _ := os.Stat(r.Path()); info.Size() > s.MaxBytes || info.Size() < s.MaxBytes/2 {
		t.Errorf("%d bytes", info.Size())
	}
	conclude(t, r)
	wantComplete(t, dir)
}

// Also what was under way when the bundle was written does not follow it.
func TestNothingFollowsTheBundle(t *testing.T) {
	r := openRun(t, open(t, t.TempDir()), "run")
	emit(t, r, admitted)
	emit(t, r, bundle(r))
	for name, emit := range map[string]func(event.Data) (event.Ref, error){"ordinary": r.Emit, "closing": r.emitClosing} {
		if _, err := emit(admitted); !errors.Is(err, ErrEnded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealNeedsARecord(t *testing.T) {
	r := openRun(t, open(t, t.TempDir()), "run")
	if err := r.Seal(); err == nil {
		t.Error("an empty chain was sealed")
	}
}

func TestConcurrentEmit(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	r := openRun(t, j, "run")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := r.Emit(event.ProcessSpawned{Program: "x"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	conclude(t, r)
	if report := wantComplete(t, dir); report.Runs[0].Records != 402 {
		t.Errorf("%+v", report.Runs)
	}
}

func TestRedactionIsBeforeSigning(t *testing.T) {
	dir := t.TempDir()
	redact, err := event.ParseRedactor("defaults")
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, dir, func(o *Options) { o.Redact = redact })
	r := openRun(t, j, "run")
	emit(t, r, event.CommandCompleted{Argv: []string{"hunter2"}, Reason: "hunter2"})
	conclude(t, r)
	text, err := os.ReadFile(r.Path())
	if err != nil || bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("%v: %s", err, text)
	}
	wantComplete(t, dir)
}

type memorySink struct {
	lines [][]byte
	fail  error
}

func (*memorySink) Name() string { return "memory" }
func (m *memorySink) Write(line []byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.lines = append(m.lines, bytes.Clone(line))
	return nil
}
func (*memorySink) Close() error { return nil }

func TestMirrors(t *testing.T) {
	dir := t.TempDir()
	broken, good := &memorySink{fail: errors.New("wire cut")}, new(memorySink)
	j := open(t, dir, func(o *Options) { o.Mirrors = []sink.Sink{broken, good} })
	r := openRun(t, j, "run")
	ref, err := r.Emit(admitted)
	if !errors.Is(err, ErrMirror) || !errors.Is(err, broken.fail) || ref.ID == "" {
		t.Errorf("got %+v, %v", ref, err)
	}
	broken.fail = nil
	conclude(t, r)
	text, err := os.ReadFile(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Join(good.lines, nil); !bytes.Equal(got, text) {
		t.Errorf("mirror:\n%s\njournal:\n%s", got, text)
	}
	// A copy with a hole would look tampered with.
	if len(broken.lines) != 0 {
		t.Errorf("the mirror that lacks the first record has %d others", len(broken.lines))
	}
	// A record that the journal does not have reaches no mirror.
	full := openRun(t, j, "full")
	full.file.write = func(int, []byte) (int, error) { return 0, unix.ENOSPC }
	before := len(good.lines)
	if _, err := full.Emit(admitted); !errors.Is(err, ErrFull) || len(good.lines) != before {
		t.Errorf("%v, %d records", err, len(good.lines)-before)
	}
}

func TestHead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Head(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	j := open(t, dir)
	if _, err := Head(dir); err == nil {
		t.Error("an empty chain has a head")
	}
	r := openRun(t, j, "run")
	emit(t, r, admitted)
	conclude(t, r)
	head, err := Head(dir)
	if report := wantComplete(t, dir); err != nil || head.Seq != 1 || head.Digest != report.Host.Head {
		t.Errorf("%v, %v", head, err)
	}
}

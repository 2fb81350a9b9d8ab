package journal

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/testenv"
)

// journalCount adds up the counts of all observations in a journal.
func journalCount(tb testing.TB, path string) (total int64) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for lines := event.NewLines(f); ; {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return total
		}
		if err != nil {
			tb.Fatal(err)
		}
		rec, err := event.ParseRecord(line)
		if err != nil {
			tb.Fatal(err)
		}
		var data struct{ Count int64 }
		if err := rec.Decode(&data); err != nil {
			tb.Fatal(err)
		}
		total += data.Count
	}
}

// smallDisk mounts a tmpfs of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	testenv.Need(t, "root", "mount")
	dir := t.TempDir()
	if err := unix.Mount("cellos-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size="+size+",mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk writes zeros until the disk has no byte left.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(dir + "/ballast")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// The journal fills a real disk: ordinary records are refused before the disk
// is, and the end of the run fits.
func TestDiskFillsMidRun(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncPhase, SyncAlways} {
		dir := smallDisk(t, "1m")
		j := open(t, dir, func(o *Options) { o.Sync = policy })
		r, err := j.OpenRun(spec("run"))
		if err != nil {
			t.Fatal(err)
		}
		big := event.CommandCompleted{Argv: []string{strings.Repeat("x", 2000)}}
		n := 0
		for err == nil {
			_, err = r.Emit(big)
			n++
		}
		if !errors.Is(err, ErrFull) || n < 50 {
			t.Fatalf("after %d records: %v", n, err)
		}
		fillDisk(t, dir)
		if _, err := r.Emit(big); !errors.Is(err, ErrFull) {
			t.Errorf("an ordinary record: %v", err)
		}
		if err := r.Closing(); err != nil {
			t.Fatal(err)
		}
		for written := 0; written < ClosingReserve-16<<10; written += 2600 {
			emit(t, r, big)
		}
		conclude(t, r)
		wantComplete(t, dir)
		wantTidy(t, dir)
		if err := errors.Join(r.Close(), j.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestDiskFullAtStart(t *testing.T) {
	dir := smallDisk(t, "512k")
	j := open(t, dir)
	fillDisk(t, dir)
	for range 2 {
		if _, err := j.OpenRun(spec("run")); !errors.Is(err, ErrNoReserve) || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("got %v", err)
		}
		wantNothing(t, dir)
	}
	if err := os.Remove(dir + "/ballast"); err != nil {
		t.Fatal(err)
	}
	r, err := j.OpenRun(spec("run"))
	if err != nil {
		t.Fatal(err)
	}
	emit(t, r, admitted)
	conclude(t, r)
	wantComplete(t, dir)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// An orphan is finished on the full disk that it died on.
func TestDiskFullForOrphan(t *testing.T) {
	dir := smallDisk(t, "1m")
	j := open(t, dir)
	r := openRun(t, j, "run")
	emit(t, r, admitted)
	crash(r)
	fillDisk(t, dir)
	finishOrphans(t, j)
	wantComplete(t, dir)
	wantTidy(t, dir)
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, "1m")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Signer: event.Unsigned}); !errors.Is(err, unix.EROFS) {
		t.Errorf("got %v", err)
	}
	var keyErr *KeyError
	if _, err := LoadSigner(environ(nil), dir); !errors.As(err, &keyErr) || !errors.Is(err, unix.EROFS) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkEmit signs records and appends them with write(2).
func BenchmarkEmit(b *testing.B) {
	data := event.DNSQuery{QueryName: "api.example.com", QueryType: "A", Decision: event.Allow, ReasonCode: "allowed_by_allowlist", Answers: []string{"192.0.2.1"}, Transport: "udp", Tally: event.Tally{Count: 1}}
	for name, policy := range map[string]SyncPolicy{"phase": SyncPhase, "always": SyncAlways} {
		b.Run(name, func(b *testing.B) {
			j := open(b, b.TempDir(), func(o *Options) { o.Sync = policy })
			j.Warm()
			s := spec("run")
			s.MaxBytes = 0
			r, err := j.OpenRun(s)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			for b.Loop() {
				emit(b, r, data)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRun is what the trail of a short run costs: eight records, opened
// and sealed.
func BenchmarkRun(b *testing.B) {
	j := open(b, b.TempDir(), func(o *Options) { o.Sync = SyncPhase })
	j.Warm()
	for b.Loop() {
		r, err := j.OpenRun(spec(event.NewID(j.opts.Clock())))
		if err != nil {
			b.Fatal(err)
		}
		for range 4 {
			emit(b, r, admitted)
		}
		if err := r.Sync(); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			emit(b, r, admitted)
		}
		conclude(b, r)
	}
}

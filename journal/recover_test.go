package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/event"
	"cellos.io/cellos/sink"
	"cellos.io/cellos/sink/jsonl"
)

// crash lets go of a run as a kill does.
func crash(r *Run) {
	r.file.File.Close()
	r.marker.File.Close()
	r.sealed = true
}

// finishOrphans does what gc does, and must be able to do it again.
func finishOrphans(t *testing.T, j *Journal) {
	t.Helper()
	orphans, err := j.Orphans()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orphans {
		r, err := j.ResumeRun(o.RunID)
		if errors.Is(err, ErrFinished) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		conclude(t, r)
	}
	if again, err := j.Orphans(); err != nil || len(again) > 0 {
		t.Errorf("still orphans: %+v, %v", again, err)
	}
}

// crashes are the states that a kill can leave, by how far the run had come.
var crashes = []struct {
	name    string
	prepare func(t *testing.T, j *Journal)
	runs    int
}{
	{"only the mark", func(t *testing.T, j *Journal) {
		m, err := j.createMarker("run")
		if err != nil {
			t.Fatal(err)
		}
		m.Close()
	}, 0},
	{"mark and empty file", func(t *testing.T, j *Journal) {
		m, err := j.createMarker("run")
		if err != nil {
			t.Fatal(err)
		}
		r, err := j.createRun(spec("run"))
		if err != nil {
			t.Fatal(err)
		}
		r.marker = m
		crash(r)
	}, 0},
	{"opened", func(t *testing.T, j *Journal) { crash(openRun(t, j, "run")) }, 1},
	{"opened, file lost", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		crash(r)
		if err := os.Remove(r.Path()); err != nil {
			t.Fatal(err)
		}
	}, 1},
	{"running", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		emit(t, r, event.IdentityMaterialized{KeyNames: []string{"A"}, LeaseID: "l"})
		crash(r)
	}, 1},
	{"torn", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		r.file.File.WriteString(`{"cellosalg":"ed2`)
		crash(r)
	}, 1},
	{"torn first record", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		r.file.File.WriteString(`{`)
		crash(r)
	}, 1},
	{"zeros after power loss", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		r.file.File.Write(make([]byte, 5000))
		r.file.File.WriteString("\ngarbage\n\n")
		crash(r)
	}, 1},
	{"destroyed", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		emit(t, r, destroyed)
		crash(r)
	}, 1},
	{"bundle", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		emit(t, r, destroyed)
		emit(t, r, bundle(r))
		crash(r)
	}, 1},
	{"surplus freed", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		emit(t, r, bundle(r))
		if err := r.space.free(); err != nil {
			t.Fatal(err)
		}
		crash(r)
	}, 1},
	{"sealed", func(t *testing.T, j *Journal) {
		r := openRun(t, j, "run")
		emit(t, r, admitted)
		emit(t, r, bundle(r))
		seal := event.RunSealed{ChainSeq: r.contents.LastSeq, Digest: r.contents.Head}
		if err := j.appendHost(r.spec.Scope, seal, 0); err != nil {
			t.Fatal(err)
		}
		crash(r)
	}, 1},
}

func TestResumeAfterEveryStep(t *testing.T) {
	for _, test := range crashes {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.prepare(t, open(t, dir))
			if r := verify(t, dir); test.runs > 0 && test.name != "sealed" && r.Valid() && len(r.Unfinished) != 1 {
				t.Errorf("before: %+v", r)
			}
			finishOrphans(t, open(t, dir))
			r := wantComplete(t, dir)
			if len(r.Runs) != test.runs {
				t.Errorf("%d runs, want %d", len(r.Runs), test.runs)
			}
			wantTidy(t, dir)
			finishOrphans(t, open(t, dir))
		})
	}
}

// A clean-up that is killed after each of its steps is done again.
func TestRecoveryIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, open(t, dir), "run")
	emit(t, r, admitted)
	crash(r)
	for range 3 { // killed with the chain taken up
		again, err := open(t, dir).ResumeRun("run")
		if err != nil {
			t.Fatal(err)
		}
		again.file.File.WriteString("torn again")
		crash(again)
	}
	finishOrphans(t, open(t, dir))
	report := wantComplete(t, dir)
	if report.Runs[0].Recovered != 4 {
		t.Errorf("%+v", report.Runs)
	}
	torn, _ := filepath.Glob(r.Path() + ".torn-*")
	if len(torn) != 1 {
		t.Errorf("set aside: %v", torn)
	}
	wantTidy(t, dir)
}

func TestTornTailIsKeptAndNamed(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	r := openRun(t, j, "run")
	emit(t, r, admitted)
	r.file.File.WriteString(`{"half":`)
	crash(r)
	again, err := j.ResumeRun("run")
	if err != nil {
		t.Fatal(err)
	}
	c := again.Contents()
	if !c.Allowed || c.Records() != 2 || c.Spec.SpecHash != "hash" || c.Spec.Scope.CellID != "cell-run" || !c.LastTime.Before(again.j.opts.Clock()) {
		t.Errorf("%+v", c)
	}
	conclude(t, again)
	text, err := os.ReadFile(r.Path())
	if err != nil {
		t.Fatal(err)
	}
	rec, err := event.ParseRecord(bytes.Split(text, []byte{'\n'})[1])
	if err != nil {
		t.Fatal(err)
	}
	var note event.AuditRecovered
	if err := rec.Decode(&note); err != nil || note.Bytes != 8 {
		t.Fatalf("%+v, %v", note, err)
	}
	kept, err := os.ReadFile(filepath.Join(filepath.Dir(r.Path()), note.File))
	if err != nil || string(kept) != `{"half":` || !strings.HasSuffix(note.File, note.SHA256[:16]) {
		t.Errorf("%q, %v", kept, err)
	}
}

func TestSetAsideIsRepeatable(t *testing.T) {
	for name, pending := range map[string]string{
		"copied, not cut":     "TORN",
		"half copied":         "TO",
		"another one pending": "OLDER",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := open(t, dir)
			r := openRun(t, j, "run")
			emit(t, r, admitted)
			r.file.File.WriteString("TORN")
			crash(r)
			if err := os.WriteFile(r.Path()+".torn", []byte(pending), 0o600); err != nil {
				t.Fatal(err)
			}
			finishOrphans(t, j)
			wantComplete(t, dir)
			wantTidy(t, dir)
			var kept []string
			paths, _ := filepath.Glob(r.Path() + ".torn-*")
			for _, path := range paths {
				text, _ := os.ReadFile(path)
				kept = append(kept, string(text))
			}
			all := strings.Join(kept, " ")
			if !strings.Contains(all, "TORN") || pending == "OLDER" && !strings.Contains(all, "OLDER") {
				t.Errorf("kept %q", kept)
			}
		})
	}
	// Cut, but not spoken of.
	dir := t.TempDir()
	j := open(t, dir)
	r := openRun(t, j, "run")
	emit(t, r, admitted)
	crash(r)
	if err := os.WriteFile(r.Path()+".torn", []byte("CUT"), 0o600); err != nil {
		t.Fatal(err)
	}
	finishOrphans(t, j)
	wantTidy(t, dir)
	text, _ := os.ReadFile(r.Path())
	if !bytes.Contains(text, []byte(`"bytes":3`)) {
		t.Errorf("not spoken of: %s", text)
	}
}

// A crash damages the end only. Anything else is not ours to continue.
func TestCorruptIsNotContinued(t *testing.T) {
	for name, damage := range map[string]func(lines [][]byte) [][]byte{
		"garbage in the middle": func(l [][]byte) [][]byte { l[1] = []byte("garbage\n"); return l },
		"dropped":               func(l [][]byte) [][]byte { return append(l[:1], l[2:]...) },
		"swapped":               func(l [][]byte) [][]byte { l[0], l[1] = l[1], l[0]; return l },
	} {
		dir := t.TempDir()
		j := open(t, dir)
		r := openRun(t, j, "run")
		for range 4 {
			emit(t, r, admitted)
		}
		crash(r)
		text, err := os.ReadFile(r.Path())
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Join(damage(bytes.SplitAfter(text, []byte{'\n'})), nil)
		if err := os.WriteFile(r.Path(), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = j.ResumeRun("run")
		var corrupt *CorruptError
		if !errors.As(err, &corrupt) || corrupt.Line == 0 {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(r.Path()); !bytes.Equal(after, changed) {
			t.Errorf("%s: the file was touched", name)
		}
	}
}

func TestLiveRunIsNotTakenUp(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, open(t, dir), "run")
	emit(t, r, admitted)
	if _, err := open(t, dir).ResumeRun("run"); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	conclude(t, r)
	if _, err := open(t, dir).ResumeRun("run"); !errors.Is(err, ErrFinished) {
		t.Errorf("got %v", err)
	}
	wantComplete(t, dir)
}

// A mark that was taken for one of no run is made anew.
func TestMarkerIsMadeAnew(t *testing.T) {
	j := open(t, t.TempDir())
	first, err := j.createMarker("run")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := os.Remove(first.path); err != nil {
		t.Fatal(err)
	}
	if first.named() {
		t.Error("a removed file has a name")
	}
	second, err := j.createMarker("run")
	if err != nil || !second.named() {
		t.Fatalf("%v", err)
	}
	second.Close()
}

func TestHostChainRecovery(t *testing.T) {
	second, err := event.NewEd25519Signer("second", bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, tail := range map[string]string{
		"torn": `{"cellosalg":`, "garbage": "garbage\n\n\x00", "zeros": string(make([]byte, 20<<10)), "none": "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := open(t, dir)
			conclude(t, started(t, a, "run-1"))
			f, err := os.OpenFile(HostPath(dir), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tail); err != nil {
				t.Fatal(err)
			}
			f.Close()
			conclude(t, started(t, a, "run-2")) // it had the chain open already
			// Another key takes turns.
			b := open(t, dir, func(o *Options) { o.Signer = second })
			conclude(t, started(t, b, "run-3"))
			conclude(t, started(t, a, "run-4"))
			report := wantComplete(t, dir, second)
			want := 2 // two changes of the key
			if tail != "" {
				want++
			}
			if report.Host.Recovered != want {
				t.Errorf("recovered %d times, want %d", report.Host.Recovered, want)
			}
			wantTidy(t, dir)
			kept, _ := filepath.Glob(HostPath(dir) + ".torn-*")
			if tail != "" && len(kept) != 1 {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

func started(t *testing.T, j *Journal, id string) *Run {
	t.Helper()
	r := openRun(t, j, id)
	emit(t, r, admitted)
	return r
}

func TestHostChainWithoutRecords(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	conclude(t, started(t, j, "run"))
	if err := os.WriteFile(HostPath(dir), bytes.Repeat([]byte("x\n"), maxTail), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, dir).OpenRun(spec("next"))
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(Dir(dir), "open")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// FuzzReplay feeds a damaged file to the reader that recovery trusts.
func FuzzReplay(f *testing.F) {
	dir := f.TempDir()
	j := open(f, dir)
	r := openRun(f, j, "seed")
	emit(f, r, admitted)
	emit(f, r, destroyed)
	good, err := os.ReadFile(r.Path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-7])
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		run := j.newRun(spec("seed"), &file{path: "seed.jsonl"})
		end, err := run.replay(bytes.NewReader(text))
		var corrupt *CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			t.Fatal(err)
		}
		if end < 0 || end > int64(len(text)) {
			t.Fatalf("%d of %d bytes are whole", end, len(text))
		}
		if _, end, err = lastRecord("host.jsonl", bytes.NewReader(text), int64(len(text))); err == nil && end > int64(len(text)) {
			t.Fatalf("%d of %d bytes are whole", end, len(text))
		}
	})
}

// What a copy has of a run is a beginning of it, whenever its supervisor was
// killed and whoever finishes it: a hole would look like tampering.
func TestResumedMirrorHasNoHole(t *testing.T) {
	for _, test := range []struct {
		name  string
		keep  int // of 3 records
		whole bool
	}{
		{"it has everything", 3, true},
		{"killed before the last one was copied", 2, true},
		{"it had failed before", 1, false},
		{"a file of another run", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			r := openRun(t, open(t, dir), "run")
			for range 3 {
				emit(t, r, admitted)
			}
			crash(r)
			chain, err := os.ReadFile(r.Path())
			if err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(dir, "copy.jsonl")
			other := strings.Repeat("another run\n", 1<<17)
			mine := bytes.Join(bytes.SplitAfter(chain, []byte{'\n'})[:test.keep], nil)
			if err := os.WriteFile(copied, append(mine, other...), 0o600); err != nil {
				t.Fatal(err)
			}
			mirror, err := jsonl.Open(copied)
			if err != nil {
				t.Fatal(err)
			}
			defer mirror.Close()
			finishOrphans(t, open(t, dir, func(o *Options) { o.Mirrors = []sink.Sink{mirror} }))
			if chain, err = os.ReadFile(r.Path()); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(copied)
			if err != nil {
				t.Fatal(err)
			}
			got = bytes.ReplaceAll(got, []byte("another run\n"), nil)
			if want := chain[:len(mine)]; !test.whole && !bytes.Equal(got, want) || test.whole && !bytes.Equal(got, chain) {
				t.Errorf("the copy:\n%s\nthe journal:\n%s", got, chain)
			}
		})
	}
}

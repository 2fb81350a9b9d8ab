package event

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A trail builds journals in memory.
type trail struct {
	tb     testing.TB
	enc    Encoder
	host   []string
	links  map[string]Link
	counts map[string]map[string]int64
}

func newTrail(tb testing.TB, signer Signer, envelope Envelope) *trail {
	return &trail{tb: tb, enc: Encoder{Signer: signer, Envelope: envelope}, links: make(map[string]Link), counts: make(map[string]map[string]int64)}
}

// add appends an event to a chain, and returns its line.
func (tr *trail) add(chain, runID string, data Data) string {
	link, ok := tr.links[chain]
	if !ok {
		link = Link{Chain: chain}
		tr.counts[chain] = make(map[string]int64)
	}
	if b, ok := data.(EvidenceBundle); ok {
		b.ChainID, b.LastSeq, b.HeadDigest, b.Counts = chain, link.Seq-1, link.Prev, tr.counts[chain]
		data = b
	}
	line, digest, err := tr.enc.Encode(nil, New("s", Scope{"spec", "cell", runID}, testTime, data), link)
	if err != nil {
		tr.tb.Fatal(err)
	}
	tr.links[chain] = link.Next(digest)
	tr.counts[chain][data.EventType()]++
	return string(line)
}

const hostChain = "host-1"

// run makes a whole run of five records, opened and sealed.
func (tr *trail) run(id string) []string {
	tr.host = append(tr.host, tr.add(hostChain, id, RunOpened{}))
	lines := []string{
		tr.add(id, id, AdmissionDecided{Verdict: VerdictAllowed}),
		tr.add(id, id, ProcessSpawned{Program: "/bin/true", Argc: 1, PID: 5}),
		tr.add(id, id, CommandCompleted{Argv: List[string]{"/bin/true"}}),
		tr.add(id, id, LifecycleDestroyed{Outcome: OutcomeSucceeded}),
		tr.add(id, id, EvidenceBundle{}),
	}
	tr.seal(id)
	return lines
}

func (tr *trail) seal(id string) {
	link := tr.links[id]
	tr.host = append(tr.host, tr.add(hostChain, id, RunSealed{ChainSeq: link.Seq - 1, Digest: link.Prev}))
}

func (tr *trail) keys() *Keys {
	keys := new(Keys)
	if key, ok := PublicKey(tr.enc.Signer); ok {
		if err := keys.Add(tr.enc.Signer.KID(), key); err != nil {
			tr.tb.Fatal(err)
		}
	}
	if s, ok := tr.enc.Signer.(*hmacSigner); ok {
		key, err := NewKey(HMAC, s.key)
		if err != nil || keys.Add(s.kid, key) != nil {
			tr.tb.Fatal(err)
		}
	}
	return keys
}

// verify returns the report on the given lines, with the host chain if there
// is one.
func (tr *trail) verify(v *Verifier, host []string, runs ...string) *Report {
	if v.Keys == nil {
		v.Keys = tr.keys()
	}
	if host != nil {
		if err := v.HostChain("host.jsonl", strings.NewReader(strings.Join(host, ""))); err != nil {
			tr.tb.Fatal(err)
		}
	}
	if err := v.Runs("runs.jsonl", strings.NewReader(strings.Join(runs, ""))); err != nil {
		tr.tb.Fatal(err)
	}
	return v.Report()
}

func TestVerifyComplete(t *testing.T) {
	for name, signer := range map[string]Signer{"ed25519": testSigner(t), "hmac": testHMAC(t)} {
		for _, envelope := range []Envelope{Flat, Wrapped} {
			tr := newTrail(t, signer, envelope)
			a, b := tr.run("run-a"), tr.run("run-b")
			// Any interleaving that keeps the order of each run.
			mixed := []string{b[0], a[0], a[1], b[1], b[2], b[3], a[2], b[4], a[3], a[4]}
			r := tr.verify(new(Verifier), tr.host, mixed...)
			if !r.Valid() || len(r.Unfinished) != 0 || r.Records != 14 || len(r.Runs) != 2 || !r.Runs[0].Finished {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

func TestVerifyUnfinished(t *testing.T) {
	tr := newTrail(t, testSigner(t), Flat)
	a := tr.run("run-a")
	tr.host = append(tr.host, tr.add(hostChain, "run-b", RunOpened{}))
	b := tr.add("run-b", "run-b", AdmissionDecided{Verdict: VerdictAllowed})
	tr.host = append(tr.host, tr.add(hostChain, "run-c", RunOpened{}))
	r := tr.verify(new(Verifier), tr.host, append(a, b)...)
	if !r.Valid() || strings.Join(r.Unfinished, ",") != "run-b,run-c" {
		t.Errorf("%+v", r)
	}
	// Without a host chain only the bundle says that a run is over.
	r = tr.verify(new(Verifier), nil, append(a, b)...)
	if !r.Valid() || strings.Join(r.Unfinished, ",") != "run-b" {
		t.Errorf("%+v", r)
	}
	// A cell that was denied has nothing to finish.
	denied := tr.add("run-d", "run-d", AdmissionDecided{Verdict: VerdictDenied})
	if r = tr.verify(new(Verifier), nil, denied); !r.Valid() || len(r.Unfinished) != 0 {
		t.Errorf("%+v", r)
	}
	// Whoever has all files knows that run-c never had one.
	v := new(Verifier)
	v.Present("run-a")
	v.Present("run-b")
	if r = tr.verify(v, tr.host, append(a, b)...); r.Valid() || r.Faults[0].Class != FaultMissing || r.Faults[0].Chain != "run-c" {
		t.Errorf("%+v", r)
	}
}

// relink signs the records of a chain again after one was dropped, with
// whatever key the forger has.
func relink(tb testing.TB, signer Signer, kid string, lines []string) []string {
	enc := Encoder{Signer: signer}
	var out []string
	link := Link{}
	for _, line := range lines {
		rec, err := ParseRecord([]byte(line))
		if err != nil {
			tb.Fatal(err)
		}
		link.Chain = rec.Chain
		ev := &Event{ID: rec.ID, Source: rec.Source, Subject: rec.Subject, Time: rec.Time, Data: rawData{rec}}
		forged, digest, err := enc.Encode(nil, ev, link)
		if err != nil {
			tb.Fatal(err)
		}
		link = link.Next(digest)
		out = append(out, strings.Replace(string(forged), signer.KID(), kid, 1))
	}
	return out
}

type rawData struct{ rec *Record }

func (d rawData) EventType() string            { return d.rec.Type }
func (d rawData) MarshalJSON() ([]byte, error) { return d.rec.Data, nil }

// A tampering is a change of two runs, and how it has to be found.
type tampering struct {
	name  string
	lines []string
	class FaultClass
	line  int
}

// forgeries are those for which records are signed anew.
func forgeries(t *testing.T, tr *trail, a, b []string) []tampering {
	t.Helper()
	other, err := NewEd25519Signer("", bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	kid := tr.enc.Signer.KID()
	return []tampering{
		{"re-keyed with a foreign key", append(relink(t, other, other.KID(), a), b...), FaultNoKey, 1},
		{"re-keyed under our name", append(relink(t, other, kid, a), b...), FaultSignature, 1},
		{"relinked by a foreign key after a drop", append(relink(t, other, kid, append([]string{a[0]}, a[2:]...)), b...), FaultSignature, 1},
		// The host itself drops a record and signs anew: only the seal
		// and the bundle show it.
		{"relinked by the host after a drop", append(relink(t, tr.enc.Signer, kid, append([]string{a[0]}, a[2:]...)), b...), FaultBundle, 4},
		{"relinked by the host without its bundle", append(relink(t, tr.enc.Signer, kid, append([]string{a[0]}, a[2:4]...)), b...), FaultCut, 0},
		{"signed by nobody", append(relink(t, Unsigned, "", a), b...), FaultUnsigned, 1},
	}
}

func TestTampering(t *testing.T) {
	for _, envelope := range []Envelope{Flat, Wrapped} {
		tr := newTrail(t, testSigner(t), envelope)
		a, b := tr.run("run-a"), tr.run("run-b")
		all := append(append([]string{}, a...), b...) // lines 1-5 and 6-10
		edit := func(change func(lines []string) []string) []string {
			return change(append([]string{}, all...))
		}
		tests := []tampering{
			{"flipped byte in the data", edit(func(l []string) []string {
				l[2] = strings.Replace(l[2], "/bin/true", "/bin/trud", 1)
				return l
			}), FaultSignature, 3},
			{"flipped byte in the signature", edit(func(l []string) []string {
				name := `sig":"`
				if envelope == Wrapped {
					name = `signature":"`
				}
				i := strings.Index(l[2], name) + len(name)
				c := "A"
				if l[2][i] == 'A' {
					c = "B"
				}
				l[2] = l[2][:i] + c + l[2][i+1:]
				return l
			}), FaultSignature, 3},
			{"flipped byte in the JSON", edit(func(l []string) []string { l[2] = "[" + l[2][1:]; return l }), FaultMalformed, 3},
			{"dropped", edit(func(l []string) []string { return append(l[:2], l[3:]...) }), FaultGap, 3},
			{"first dropped", edit(func(l []string) []string { return l[1:] }), FaultGap, 1},
			{"swapped", edit(func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }), FaultGap, 2},
			{"replayed", edit(func(l []string) []string { l[5] = l[1]; return l[:6] }), FaultEnded, 6},
			{"replayed within", edit(func(l []string) []string { return append(l[:3:3], append([]string{l[1]}, l[3:]...)...) }), FaultReplayed, 4},
			{"truncated entry", edit(func(l []string) []string { l[9] = l[9][:len(l[9])/2]; return l }), FaultTruncated, 10},
			{"no end of line", edit(func(l []string) []string { l[9] = l[9][:len(l[9])-1]; return l }), FaultTruncated, 10},
			{"signature removed", edit(func(l []string) []string {
				rec, _ := ParseRecord([]byte(l[2]))
				if envelope == Flat {
					l[2] = string(rec.signed) + "\n"
				} else {
					c, _ := Canonical(nil, []byte(l[2]))
					i := bytes.Index(c, []byte(`,"signature"`))
					l[2] = string(c[:i]) + string(c[bytes.Index(c, []byte(`,"signerKid"`)):]) + "\n"
				}
				return l
			}), FaultSignature, 3},
			{"from another run", edit(func(l []string) []string { l[2] = b[2]; return l }), FaultGap, 3},
			{"cut", all[:9], FaultCut, 0},
			{"missing run", b, FaultMissing, 1},
			{"unknown run", append(append([]string{}, all...), newTrail(t, tr.enc.Signer, envelope).run("run-c")...), FaultUnopened, 0},
		}
		if envelope == Flat {
			tests = append(tests, forgeries(t, tr, a, b)...)
		}
		for _, test := range tests {
			r := tr.verify(new(Verifier), tr.host, test.lines...)
			if r.Valid() {
				t.Errorf("envelope %d: %s: not found", envelope, test.name)
				continue
			}
			f := r.Faults[0]
			if f.Class != test.class || f.Line != test.line {
				t.Errorf("envelope %d: %s: found %v, want %s in line %d", envelope, test.name, f, test.class, test.line)
			}
			if !errors.Is(f, test.class) || f.File == "" {
				t.Errorf("envelope %d: %s: %#v", envelope, test.name, f)
			}
		}
	}
}

func TestHostChainTampering(t *testing.T) {
	tr := newTrail(t, testSigner(t), Flat)
	runs := append(tr.run("run-a"), tr.run("run-b")...) // host lines 1-4
	head := tr.links[hostChain]
	anchor := &Head{Seq: head.Seq - 1, Digest: head.Prev}
	foreign := newTrail(t, testSigner(t), Flat)
	for _, test := range []struct {
		name  string
		host  []string
		runs  []string
		head  *Head
		class FaultClass
		line  int
	}{
		{"dropped", []string{tr.host[0], tr.host[2], tr.host[3]}, runs, nil, FaultGap, 2},
		{"swapped", []string{tr.host[0], tr.host[2], tr.host[1], tr.host[3]}, runs, nil, FaultGap, 2},
		{"flipped", []string{tr.host[0], strings.Replace(tr.host[1], "chainSeq\":4", "chainSeq\":3", 1)}, runs, nil, FaultSignature, 2},
		{"truncated", []string{tr.host[0], tr.host[1], tr.host[2], tr.host[3][:90]}, runs, nil, FaultTruncated, 4},
		{"tail cut, with anchor", tr.host[:2], runs[:5], anchor, FaultHead, 0},
		{"tail cut, runs left", tr.host[:2], runs, nil, FaultUnopened, 0},
		{"other anchor", tr.host, runs, &Head{Seq: 2, Digest: Digest{1}}, FaultHead, 3},
		{"emptied", []string{}, runs, nil, FaultUnopened, 0},
		{"a run chain in its place", runs[:5], runs, nil, FaultHostChain, 1},
		{"run removed with its file", []string{tr.host[2], tr.host[3]}, runs[5:], nil, FaultGap, 1},
		{"opened twice", append(append([]string{}, tr.host...), tr.add(hostChain, "run-a", RunOpened{})), runs, nil, FaultReplayed, 5},
		{"sealed, not opened", []string{foreign.add(hostChain, "run-z", RunSealed{})}, nil, nil, FaultUnopened, 1},
	} {
		r := tr.verify(&Verifier{Head: test.head}, test.host, test.runs...)
		if r.Valid() || r.Faults[0].Class != test.class || r.Faults[0].Line != test.line {
			t.Errorf("%s: %+v, want %s in line %d", test.name, r.Faults, test.class, test.line)
		}
	}
	if r := tr.verify(&Verifier{Head: anchor}, tr.host[:4], runs...); !r.Valid() {
		t.Errorf("the anchor is there: %v", r.Faults)
	}
	// The anchor is enough to see that a tail was cut which nothing else shows.
	if r := tr.verify(new(Verifier), tr.host[:2], runs[:5]...); !r.Valid() {
		t.Errorf("without an anchor: %v", r.Faults)
	}
	if r := tr.verify(&Verifier{Head: anchor}, nil, runs...); r.Valid() || r.Faults[0].Class != FaultHead {
		t.Errorf("an anchor without a host chain: %v", r.Faults)
	}
	// A host record among runs is refused, not ignored.
	if r := tr.verify(new(Verifier), nil, tr.host[0]); r.Valid() {
		t.Error("a host chain was taken for a run")
	}
}

func TestKeyChange(t *testing.T) {
	tr := newTrail(t, testSigner(t), Flat)
	keys := tr.keys()
	lines := []string{tr.add("run", "run", AdmissionDecided{Verdict: VerdictAllowed})}
	second, err := NewEd25519Signer("second", bytes.Repeat([]byte{5}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public, _ := PublicKey(second)
	if err := keys.Add("second", public); err != nil {
		t.Fatal(err)
	}
	tr.enc.Signer = second
	before := tr.links["run"]
	bad := tr.add("run", "run", ProcessSpawned{})
	if r := tr.verify(&Verifier{Keys: keys}, nil, append(lines, bad)...); r.Valid() || r.Faults[0].Class != FaultRekeyed || r.Faults[0].Line != 2 {
		t.Errorf("a key changed in the middle: %v", r.Faults)
	}
	tr.links["run"] = before
	lines = append(lines, tr.add("run", "run", AuditRecovered{}), tr.add("run", "run", ProcessSpawned{}))
	if r := tr.verify(&Verifier{Keys: keys}, nil, lines...); !r.Valid() || r.Runs[0].Recovered != 1 {
		t.Errorf("a key changed at a recovery: %v", r.Faults)
	}
	// The key decides the algorithm: an HMAC made with a public key as its
	// secret is no signature.
	forged, err := NewHMACSigner("second", public.bytes)
	if err != nil {
		t.Fatal(err)
	}
	tr.enc.Signer = forged
	lines = append(lines, tr.add("run", "run", AuditRecovered{}))
	if r := tr.verify(&Verifier{Keys: keys}, nil, lines...); r.Valid() || r.Faults[0].Class != FaultAlgorithm || r.Faults[0].Line != 4 {
		t.Errorf("another algorithm: %v", r.Faults)
	}
}

// Whoever has the key can write two continuations of a chain. A mixture of them
// is neither.
func TestRelinked(t *testing.T) {
	tr := newTrail(t, testSigner(t), Flat)
	first := tr.add("run", "run", AdmissionDecided{Verdict: VerdictAllowed})
	fork := tr.links["run"]
	one := tr.add("run", "run", ProcessSpawned{Program: "/bin/true"})
	tr.links["run"] = fork
	tr.add("run", "run", ProcessSpawned{Program: "/bin/false"})
	last := tr.add("run", "run", CommandCompleted{})
	r := tr.verify(new(Verifier), nil, first, one, last)
	if r.Valid() || r.Faults[0].Class != FaultRelinked || r.Faults[0].Line != 3 {
		t.Errorf("%v", r.Faults)
	}
}

func TestUnsigned(t *testing.T) {
	tr := newTrail(t, Unsigned, Flat)
	lines := tr.run("run-a")
	if r := tr.verify(new(Verifier), tr.host, lines...); r.Valid() || r.Faults[0].Class != FaultUnsigned {
		t.Errorf("%v", r.Faults)
	}
	if r := tr.verify(&Verifier{AllowUnsigned: true}, tr.host, lines...); !r.Valid() || !r.Runs[0].Unsigned {
		t.Errorf("%v", r.Faults)
	}
	// Allowed or not, a chain that was signed stays so.
	signed := newTrail(t, testSigner(t), Flat)
	a := signed.run("run-a")
	mixed := append(a[:1:1], relink(t, Unsigned, "", a)[1:]...)
	if r := signed.verify(&Verifier{AllowUnsigned: true}, nil, mixed...); r.Valid() {
		t.Error("signatures were removed from a chain")
	}
}

func TestBundleMustFit(t *testing.T) {
	tr := newTrail(t, testSigner(t), Flat)
	first := tr.add("run", "run", AdmissionDecided{Verdict: VerdictAllowed})
	link := tr.links["run"]
	for name, change := range map[string]func(*EvidenceBundle){
		"chain":  func(b *EvidenceBundle) { b.ChainID = "other" },
		"first":  func(b *EvidenceBundle) { b.FirstSeq = 1 },
		"last":   func(b *EvidenceBundle) { b.LastSeq = 7 },
		"head":   func(b *EvidenceBundle) { b.HeadDigest = Digest{} },
		"counts": func(b *EvidenceBundle) { b.Counts = map[string]int64{"x": 2} },
	} {
		b := EvidenceBundle{ChainID: "run", HeadDigest: link.Prev, Counts: map[string]int64{"x": 1}}
		change(&b)
		line, _, err := tr.enc.Encode(nil, New("s", Scope{RunID: "run"}, testTime, b), link)
		if err != nil {
			t.Fatal(err)
		}
		if r := tr.verify(new(Verifier), nil, first, string(line)); r.Valid() || r.Faults[0].Class != FaultBundle {
			t.Errorf("%s: %v", name, r.Faults)
		}
	}
	// The data of a record must be of the run whose chain it is in.
	stray := tr.add("run", "other", ProcessSpawned{})
	if r := tr.verify(new(Verifier), nil, first, stray); r.Valid() || r.Faults[0].Class != FaultSubject {
		t.Errorf("%v", r.Faults)
	}
}

func TestParseHead(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	head, err := ParseHead("41:" + digest)
	if err != nil || head.Seq != 41 || head.String() != "41:"+digest {
		t.Errorf("%v, %v", head, err)
	}
	for _, s := range []string{"", ":", "41", digest, ":" + digest, "x:" + digest, "-1:" + digest, "41:" + digest[1:], "41:" + strings.ToUpper(digest), "99999999999999999999:" + digest} {
		if _, err := ParseHead(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", MaxRecord+5)
	lines := NewLines(strings.NewReader("a\n\n" + long + "\nb\n" + strings.Repeat("y", 100<<10) + "\ntorn"))
	for _, want := range []struct {
		line   string
		offset int64
		class  FaultClass
	}{
		{"a", 0, ""}, {"", 2, ""}, {"", 3, FaultMalformed}, {"b", 3 + MaxRecord + 6, ""},
		{strings.Repeat("y", 100<<10), 3 + MaxRecord + 8, ""}, {"torn", 3 + MaxRecord + 9 + 100<<10, FaultTruncated},
	} {
		line, err := lines.Next()
		if want.class == "" && err != nil || want.class != "" && !errors.Is(err, want.class) {
			t.Errorf("at %d: %v", want.offset, err)
		}
		if lines.Offset != want.offset || want.class != FaultMalformed && string(line) != want.line {
			t.Errorf("at %d: %.20q at %d", want.offset, line, lines.Offset)
		}
	}
	if _, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// FuzzVerify checks that no bytes break a verifier.
func FuzzVerify(f *testing.F) {
	tr := newTrail(f, testSigner(f), Flat)
	keys := tr.keys()
	for _, line := range tr.run("run-a") {
		f.Add([]byte(line))
	}
	f.Add([]byte("{}\n\n[]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		v := &Verifier{Keys: keys, AllowUnsigned: true}
		for _, read := range []func(string, io.Reader) error{v.HostChain, v.Runs} {
			if err := read("fuzz", bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		}
		v.Report()
	})
}

// FuzzFlip checks that no change of a byte is taken for the original.
func FuzzFlip(f *testing.F) {
	tr := newTrail(f, testSigner(f), Flat)
	keys := tr.keys()
	good := strings.Join(tr.run("run-a"), "")
	f.Add(uint(3), byte(1))
	f.Add(uint(700), byte(0x20))
	f.Fuzz(func(t *testing.T, at uint, flip byte) {
		changed := []byte(good)
		changed[at%uint(len(changed))] ^= flip
		v := &Verifier{Keys: keys}
		if err := v.HostChain("host", strings.NewReader(strings.Join(tr.host, ""))); err != nil {
			t.Fatal(err)
		}
		if err := v.Runs("runs", bytes.NewReader(changed)); err != nil {
			t.Fatal(err)
		}
		if r := v.Report(); r.Valid() && flip != 0 {
			t.Fatalf("flipping %#x at %d was not found", flip, at)
		}
	})
}

// bigTrail writes n records of several interleaved runs.
func bigTrail(tb testing.TB, n int) []byte {
	tr := newTrail(tb, testSigner(tb), Flat)
	random := rand.New(rand.NewPCG(1, 2))
	data := DNSQuery{QueryName: "api.example.com", QueryType: "A", Decision: Allow, ReasonCode: "allowed_by_allowlist", Answers: List[string]{"192.0.2.1"}, Transport: "udp", Tally: Tally{1, Timestamp{testTime}, Timestamp{testTime}}}
	var out bytes.Buffer
	for range n {
		id := fmt.Sprintf("run-%d", random.IntN(8))
		out.WriteString(tr.add(id, id, data))
	}
	return out.Bytes()
}

func BenchmarkVerify100k(b *testing.B) {
	text := bigTrail(b, 100_000)
	keys := newTrail(b, testSigner(b), Flat).keys()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		v := &Verifier{Keys: keys}
		start := time.Now()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := v.Runs("big", bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if r := v.Report(); !r.Valid() || r.Records != 100_000 {
			b.Fatal(r.Faults)
		}
		b.ReportMetric(100_000/time.Since(start).Seconds(), "records/s")
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1024, "KiB-kept")
	}
}

// A verifier keeps nothing of a record.
func TestVerifierMemory(t *testing.T) {
	keys := newTrail(t, testSigner(t), Flat).keys()
	kept := func(n int) int64 {
		text := bigTrail(t, n)
		v := &Verifier{Keys: keys}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := v.Runs("big", bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if r := v.Report(); !r.Valid() {
			t.Fatal(r.Faults)
		}
		runtime.KeepAlive(text)
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	small, large := kept(100), kept(3000)
	if large > small+64<<10 {
		t.Errorf("kept %d bytes after 100 records, %d after 3000", small, large)
	}
}

package event

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the specimen anew")

// specimen makes two short runs, a flat and a wrapped one, the same each time.
func specimen(t *testing.T) (lines, keys []byte) {
	t.Helper()
	signer, err := NewEd25519Signer("", unhex(t, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
	if err != nil {
		t.Fatal(err)
	}
	code := 0
	for i, envelope := range []Envelope{Flat, Wrapped} {
		enc := Encoder{Signer: signer, Envelope: envelope}
		id := fmt.Sprintf("01890a5d-ac96-774b-bcce-b302099a805%d", i)
		link := Link{Chain: id}
		counts := make(map[string]int64)
		for n, data := range []Data{
			AdmissionDecided{Verdict: VerdictAllowed},
			ProcessSpawned{Program: "/bin/true", Argc: 1, PID: 4711},
			CommandCompleted{Argv: List[string]{"/bin/true"}, ExitCode: &code, DurationMs: 2},
			LifecycleDestroyed{Outcome: OutcomeSucceeded, ResidueClass: ResidueNone, EvidenceBundleRef: BundleRef(id)},
			nil,
		} {
			if data == nil {
				data = EvidenceBundle{ChainID: id, LastSeq: link.Seq - 1, HeadDigest: link.Prev, Counts: counts, ResidueClass: ResidueNone}
			}
			scope := Scope{SpecID: "specimen", CellID: "cell-1", RunID: id}
			ev := New(Source("host.example", "1"), scope, testTime.Add(time.Duration(n)*time.Millisecond), data)
			ev.ID = fmt.Sprintf("01890a5d-ac96-774b-bcce-00000000%d%03d", i, n)
			var digest Digest
			if lines, digest, err = enc.Encode(lines, ev, link); err != nil {
				t.Fatal(err)
			}
			link = link.Next(digest)
			counts[data.EventType()]++
		}
	}
	public, _ := PublicKey(signer)
	all := new(Keys)
	if err := all.Add(signer.KID(), public); err != nil {
		t.Fatal(err)
	}
	if keys, err = FormatKeys(all); err != nil {
		t.Fatal(err)
	}
	return lines, keys
}

// The format of a record never changes: what was signed years ago verifies.
func TestSpecimen(t *testing.T) {
	lines, keys := specimen(t)
	for path, text := range map[string][]byte{"testdata/specimen.jsonl": lines, "testdata/specimen-keys.json": keys} {
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, text) {
			t.Errorf("%s is not what the encoder writes (-update writes it)\nkept %s\nnow  %s", path, kept, text)
		}
	}
	parsed, err := ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	v := &Verifier{Keys: parsed}
	if err := v.Runs("specimen", bytes.NewReader(lines)); err != nil {
		t.Fatal(err)
	}
	if r := v.Report(); !r.Valid() || len(r.Runs) != 2 || len(r.Unfinished) > 0 {
		t.Errorf("%+v", r)
	}
}

var flatSignature = regexp.MustCompile(`,"cellossig":"([^"]*)"`)

// The recipe of the package documentation, with nothing of this package.
func TestSpecimenByHand(t *testing.T) {
	text, err := os.ReadFile("testdata/specimen.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	keysText, err := os.ReadFile("testdata/specimen-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]struct{ Key string }
	if err := json.Unmarshal(keysText, &keys); err != nil {
		t.Fatal(err)
	}
	prev := fmt.Sprintf("%064d", 0)
	for i, line := range bytes.SplitAfter(text, []byte{'\n'})[:5] {
		line = bytes.TrimSpace(line)
		at := flatSignature.FindSubmatchIndex(line)
		if at == nil {
			t.Fatalf("line %d has no signature", i+1)
		}
		signature, err := base64.RawURLEncoding.DecodeString(string(line[at[2]:at[3]]))
		if err != nil {
			t.Fatal(err)
		}
		signed := append(append([]byte{}, line[:at[0]]...), line[at[1]:]...)
		var rec struct{ Celloskid, Cellosseq, Cellosprev string }
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		public, err := base64.RawURLEncoding.DecodeString(keys[rec.Celloskid].Key)
		if err != nil || !ed25519.Verify(public, signed, signature) {
			t.Errorf("line %d: the signature is wrong: %v", i+1, err)
		}
		if rec.Cellosseq != fmt.Sprint(i) || rec.Cellosprev != prev {
			t.Errorf("line %d: the link is wrong", i+1)
		}
		digest := sha256.Sum256(signed)
		prev = hex.EncodeToString(digest[:])
	}
}

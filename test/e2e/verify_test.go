package e2e

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A record is canonical JSON with its signature in one member, so the signed
// bytes are what is left without that member.
var signatureMember = regexp.MustCompile(`,"cellossig":"([A-Za-z0-9_-]+)"`)

// verifyIndependently checks signatures and chains of a file without any code
// of ours: what an auditor would write from the contract alone.
func verifyIndependently(t *testing.T, jsonl, state string) {
	t.Helper()
	keys := map[string]ed25519.PublicKey{}
	paths, err := filepath.Glob(filepath.Join(state, "keys", "*.pub.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no public key in %s: %v", state, err)
	}
	for _, path := range paths {
		var file map[string]struct{ Alg, Key string }
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for kid, k := range file {
			key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.Key, "="))
			if err != nil || k.Alg != "ed25519" {
				t.Fatalf("%s: key %s: alg %q, %v", path, kid, k.Alg, err)
			}
			keys[kid] = key
		}
	}

	data, err := os.ReadFile(jsonl)
	if err != nil {
		t.Fatal(err)
	}
	type head struct {
		next   int
		digest string
		last   string
	}
	chains := map[string]head{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		m := signatureMember.FindStringSubmatchIndex(line)
		if m == nil {
			t.Fatalf("line %d has no signature", n)
		}
		signature, err := base64.RawURLEncoding.DecodeString(line[m[2]:m[3]])
		if err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		signed := line[:m[0]] + line[m[1]:]
		var r struct {
			Type, Celloskid, Celloschain, Cellosseq, Cellosprev string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		if !ed25519.Verify(keys[r.Celloskid], []byte(signed), signature) {
			t.Fatalf("line %d: bad signature", n)
		}
		chain, seen := chains[r.Celloschain]
		if !seen {
			chain.digest = strings.Repeat("0", 64)
		}
		if r.Cellosseq != strconv.Itoa(chain.next) || r.Cellosprev != chain.digest {
			t.Fatalf("line %d: seq %s after %d, prev %s, want %s", n, r.Cellosseq, chain.next-1, r.Cellosprev, chain.digest)
		}
		digest := sha256.Sum256([]byte(signed))
		chains[r.Celloschain] = head{chain.next + 1, hex.EncodeToString(digest[:]), r.Type}
	}
	if len(chains) == 0 {
		t.Fatal("the trail is empty")
	}
	for id, chain := range chains {
		if chain.last != "dev.cellos.events.cell.evidence_bundle.v1.emitted" {
			t.Errorf("chain %s ends with %s", id, chain.last)
		}
	}
}

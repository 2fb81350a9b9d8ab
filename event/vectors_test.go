package event

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readVectors(t *testing.T, name string, v any) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(vectors(t, "wycheproof"), name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(src, v); err != nil {
		t.Fatal(err)
	}
}

func TestEd25519Vectors(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			PublicKey struct{ Pk string }
			Tests     []struct {
				TcID                      int
				Comment, Msg, Sig, Result string
			}
		}
	}
	readVectors(t, "ed25519_test.json", &file)
	n := 0
	for _, group := range file.TestGroups {
		key, err := NewKey(Ed25519, unhex(t, group.PublicKey.Pk))
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range group.Tests {
			n++
			got := key.Verify(unhex(t, test.Msg), unhex(t, test.Sig))
			if want := test.Result == "valid"; got != want {
				t.Errorf("%d (%s): verified %v, want %s", test.TcID, test.Comment, got, test.Result)
			}
		}
	}
	if n == 0 || n != file.NumberOfTests {
		t.Errorf("ran %d of %d", n, file.NumberOfTests)
	}
}

func TestHMACVectors(t *testing.T) {
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			TagSize int
			Tests   []struct {
				TcID                           int
				Comment, Key, Msg, Tag, Result string
			}
		}
	}
	readVectors(t, "hmac_sha256_test.json", &file)
	n := 0
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			n++
			key := Key{Alg: HMAC, bytes: unhex(t, test.Key)}
			tag := unhex(t, test.Tag)
			got := key.Verify(unhex(t, test.Msg), tag)
			// A truncated tag is right by its vector and never by us.
			want := test.Result == "valid" && group.TagSize == 256
			if got != want {
				t.Errorf("%d (%s): verified %v, want %v", test.TcID, test.Comment, got, want)
			}
		}
	}
	if n == 0 || n != file.NumberOfTests {
		t.Errorf("ran %d of %d", n, file.NumberOfTests)
	}
}

// The example of RFC 8037 appendix A.3.
func TestThumbprint(t *testing.T) {
	public := unhex(t, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	if got := Thumbprint(public); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("got %s", got)
	}
}

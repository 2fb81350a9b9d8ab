package journal

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cellos.io/cellos/event"
)

func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestHostKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	kids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range kids {
		wg.Go(func() {
			s, err := LoadSigner(environ(nil), dir)
			if err != nil {
				t.Error(err)
				return
			}
			kids[i] = s.KID()
		})
	}
	wg.Wait()
	for _, kid := range kids {
		if kid != kids[0] || kid == "" {
			t.Fatalf("they do not agree: %q", kids)
		}
	}
	for name, mode := range map[string]os.FileMode{".key": 0o600, ".pub.json": 0o644} {
		info, err := os.Stat(filepath.Join(KeysDir(dir), kids[0]+name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	entries, err := os.ReadDir(KeysDir(dir))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	// The public key comes back if a kill kept it from being written.
	public := filepath.Join(KeysDir(dir), kids[0]+".pub.json")
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	signer, err := LoadSigner(environ(nil), dir)
	if err != nil || signer.KID() != kids[0] {
		t.Fatalf("%v, %v", signer, err)
	}
	keys, err := PublicKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Get(kids[0])
	signature, _ := signer.Sign([]byte("x"))
	if !key.Verify([]byte("x"), signature) || kids[0] != thumbprintOf(key) {
		t.Error("the keys file has another key")
	}
}

func thumbprintOf(key event.Key) string {
	public, _ := event.DecodeKey(key.Encoded())
	return event.Thumbprint(public)
}

func TestConfiguredKeys(t *testing.T) {
	seed := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, []byte(seed+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		vars map[string]string
		alg  event.Alg
		kid  string
	}{
		"seed":              {map[string]string{envKey: seed}, event.Ed25519, "TIDpqmc4rYu-t16ILEz4J2nlPSUo8f_AxFtJtN-3FRk"},
		"padded seed":       {map[string]string{envKey: seed + "=", envSigning: "ed25519"}, event.Ed25519, "TIDpqmc4rYu-t16ILEz4J2nlPSUo8f_AxFtJtN-3FRk"},
		"file and name":     {map[string]string{envKeyPath: path, envKID: "fleet"}, event.Ed25519, "fleet"},
		"hmac":              {map[string]string{envKeyPath: path, envKID: "shared", envSigning: "hmac"}, event.HMAC, "shared"},
		"off":               {map[string]string{envSigning: "off"}, event.None, ""},
		"the host's, named": {map[string]string{envKID: "mine"}, event.Ed25519, "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			s, err := LoadSigner(environ(test.vars), state)
			if err != nil {
				t.Fatal(err)
			}
			if s.Alg() != test.alg || test.kid != "" && len(test.kid) < 20 && s.KID() != test.kid {
				t.Errorf("got %s, %q", s.Alg(), s.KID())
			}
			again, err := LoadSigner(environ(test.vars), state)
			if err != nil || again.KID() != s.KID() {
				t.Errorf("again: %v, %v", again, err)
			}
			keys, err := PublicKeys(state)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := keys.Get(s.KID()); ok != (test.alg == event.Ed25519) {
				t.Errorf("public keys: %v", keys.KIDs())
			}
			if secret := filepath.Join(KeysDir(state), s.KID()+".key"); name != "the host's, named" {
				if _, err := os.Stat(secret); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a configured key was kept: %v", err)
				}
			}
		})
	}
}

func TestUnusableKeys(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		vars map[string]string
		want string
	}{
		"unknown mode":       {map[string]string{envSigning: "on"}, envSigning},
		"off with a key":     {map[string]string{envSigning: "off", envKey: secret}, envSigning},
		"not base64url":      {map[string]string{envKey: "!!" + secret}, envKey},
		"wrong length":       {map[string]string{envKey: secret}, envKey},
		"two keys":           {map[string]string{envKey: secret, envKeyPath: "x"}, envKeyPath},
		"no file":            {map[string]string{envKeyPath: dir + "/none"}, envKeyPath},
		"a directory":        {map[string]string{envKeyPath: dir}, "regular"},
		"a fifo":             {map[string]string{envKeyPath: fifo}, "regular"},
		"readable by others": {map[string]string{envKeyPath: file("open", secret, 0o644)}, "chmod 600"},
		"empty":              {map[string]string{envKeyPath: file("empty", "", 0o600)}, envKeyPath},
		"too long":           {map[string]string{envKeyPath: file("long", strings.Repeat("A", 5000), 0o600)}, "too long"},
		"hmac without key":   {map[string]string{envSigning: "hmac", envKID: "k"}, envKeyPath},
		"hmac without name":  {map[string]string{envSigning: "hmac", envKey: secret}, envKID},
		"short hmac":         {map[string]string{envSigning: "hmac", envKID: "k", envKey: "c2VjcmV0"}, envKey},
		"bad name":           {map[string]string{envKID: "../k"}, envKID},
	} {
		_, err := LoadSigner(environ(test.vars), t.TempDir())
		var keyErr *KeyError
		if !errors.As(err, &keyErr) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestKeyDirectory(t *testing.T) {
	state := t.TempDir()
	for _, kid := range []string{"one", "two"} {
		if _, err := LoadSigner(environ(map[string]string{envKID: kid}), state); err != nil {
			t.Fatal(err)
		}
	}
	_, err := LoadSigner(environ(nil), state)
	if err == nil || !strings.Contains(err.Error(), "one, two") || !strings.Contains(err.Error(), envKID) {
		t.Errorf("two keys: %v", err)
	}
	// Another key under a name that has been used would disown the past.
	seed := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	if _, err := LoadSigner(environ(map[string]string{envKID: "one", envKey: seed}), state); err == nil {
		t.Error("a name was given to another key")
	}
	if err := os.WriteFile(filepath.Join(KeysDir(state), "one.pub.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(environ(map[string]string{envKID: "one"}), state); err == nil {
		t.Error("a damaged public key was accepted")
	}
	if err := os.WriteFile(filepath.Join(KeysDir(state), "two.key"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(environ(map[string]string{envKID: "two"}), state); err == nil {
		t.Error("a damaged key was replaced")
	}
}

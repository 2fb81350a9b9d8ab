package event

import (
	"strings"
	"testing"
)

const (
	publicA = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	publicB = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"
)

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys([]byte(`{"a":"` + publicA + `","b":{"alg":"ed25519","key":"` + publicB + `="}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(keys.KIDs(), ","); got != "a,b" {
		t.Errorf("got %s", got)
	}
	key, ok := keys.Get("b")
	if !ok || key.Alg != Ed25519 || key.Encoded() != publicB {
		t.Errorf("got %v", key)
	}
	text, err := FormatKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeys(text)
	if err != nil || again.Merge(keys) != nil {
		t.Errorf("%s: %v", text, err)
	}
	if _, ok := (*Keys)(nil).Get("a"); ok {
		t.Error("no keys have a key")
	}
}

func TestParseKeysRefuses(t *testing.T) {
	secret := "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"
	for name, src := range map[string]string{
		"empty":              ``,
		"not an object":      `["a"]`,
		"no key":             `{}`,
		"duplicate kid":      `{"a":"` + publicA + `","a":"` + publicB + `"}`,
		"duplicate, escaped": `{"a":"` + publicA + `","\u0061":"` + publicB + `"}`,
		"short":              `{"a":"` + publicA[:40] + `"}`,
		"not base64url":      `{"a":"` + strings.Replace(publicA, "_", "/", 1) + `"}`,
		"trailing bits":      `{"a":"` + publicA[:42] + `p"}`,
		"hmac":               `{"a":{"alg":"hmac-sha256","key":"` + secret + `"}}`,
		"unknown algorithm":  `{"a":{"alg":"rsa","key":"` + publicA + `"}}`,
		"no algorithm":       `{"a":{"key":"` + publicA + `"}}`,
		"null":               `{"a":{"alg":"ed25519","key":null}}`,
		"unknown member":     `{"a":{"alg":"ed25519","key":"` + publicA + `","use":"sig"}}`,
		"number":             `{"a":1}`,
		"kid with a slash":   `{"../a":"` + publicA + `"}`,
		"trailing text":      `{"a":"` + publicA + `"} {}`,
	} {
		_, err := ParseKeys([]byte(src))
		if err == nil {
			t.Errorf("%s was accepted", name)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if keys, err := ParseHMACKeys([]byte(`{"a":{"alg":"hmac-sha256","key":"` + secret + `"},"b":"` + secret + `"}`)); err != nil {
		t.Error(err)
	} else if _, err := FormatKeys(keys); err == nil {
		t.Error("a secret was written to a keys file")
	}
	if _, err := ParseHMACKeys([]byte(`{"a":{"alg":"ed25519","key":"` + publicA + `"}}`)); err == nil {
		t.Error("a public key was accepted as a secret")
	}
}

func TestKeysAdd(t *testing.T) {
	a, _ := DecodeKey(publicA)
	b, _ := DecodeKey(publicB)
	keyA, _ := NewKey(Ed25519, a)
	keyB, _ := NewKey(Ed25519, b)
	keys := new(Keys)
	for _, add := range []struct {
		kid string
		key Key
		ok  bool
	}{{"x", keyA, true}, {"x", keyA, true}, {"x", keyB, false}, {".x", keyA, false}, {"", keyA, false}, {strings.Repeat("k", 129), keyA, false}} {
		if err := keys.Add(add.kid, add.key); (err == nil) != add.ok {
			t.Errorf("%q: %v", add.kid, err)
		}
	}
}

func TestSigners(t *testing.T) {
	if _, err := NewEd25519Signer("k", make([]byte, 31)); err == nil {
		t.Error("a short seed was accepted")
	}
	if _, err := NewHMACSigner("k", make([]byte, 31)); err == nil {
		t.Error("a short HMAC key was accepted")
	}
	if _, err := NewHMACSigner("", make([]byte, 32)); err == nil {
		t.Error("an HMAC key without a name was accepted")
	}
	if _, ok := PublicKey(testHMAC(t)); ok {
		t.Error("an HMAC key is public")
	}
	if _, err := NewKey(None, nil); err == nil {
		t.Error("there is a key for no algorithm")
	}
	if (Key{}).Verify(nil, nil) {
		t.Error("no key verified nothing")
	}
}

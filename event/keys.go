package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Keys are the keys a verifier trusts, by key id.
type Keys struct{ byKID map[string]Key }

// Get returns the key that kid names.
func (k *Keys) Get(kid string) (Key, bool) {
	if k == nil {
		return Key{}, false
	}
	key, ok := k.byKID[kid]
	return key, ok
}

// KIDs returns all key ids in order.
func (k *Keys) KIDs() []string {
	if k == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(k.byKID))
}

// Add trusts key under kid. A kid that already names another key is an error:
// a key file must not be able to replace one that came before.
func (k *Keys) Add(kid string, key Key) error {
	if err := CheckKID(kid); err != nil {
		return err
	}
	if old, ok := k.byKID[kid]; ok {
		if old.Equal(key) {
			return nil
		}
		return fmt.Errorf("key id %q names two different keys", kid)
	}
	if k.byKID == nil {
		k.byKID = make(map[string]Key)
	}
	k.byKID[kid] = key
	return nil
}

// Merge adds all keys of other.
func (k *Keys) Merge(other *Keys) error {
	var errs []error
	for _, kid := range other.KIDs() {
		errs = append(errs, k.Add(kid, other.byKID[kid]))
	}
	return errors.Join(errs...)
}

// ParseKeys reads a keys file: a JSON object of kid → {alg, key} or kid →
// base64url, the latter an Ed25519 public key. It refuses HMAC keys: whoever
// can verify with one can also sign with it, so one must not slip in among
// public keys.
func ParseKeys(src []byte) (*Keys, error) { return parseKeys(src, Ed25519) }

// ParseHMACKeys reads a keys file of HMAC keys, in the form of ParseKeys.
func ParseHMACKeys(src []byte) (*Keys, error) { return parseKeys(src, HMAC) }

func parseKeys(src []byte, alg Alg) (*Keys, error) {
	// The canonical form proves that there are no duplicate names, which
	// encoding/json would let pass.
	canonical, err := Canonical(nil, src)
	if err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	var entries map[string]json.RawMessage
	if canonical[0] != '{' || json.Unmarshal(canonical, &entries) != nil {
		return nil, errors.New("keys file: want a JSON object of key id to key")
	}
	if len(entries) == 0 {
		return nil, errors.New("keys file: there is no key in it")
	}
	keys := &Keys{byKID: make(map[string]Key, len(entries))}
	var errs []error
	for _, kid := range slices.Sorted(maps.Keys(entries)) {
		key, err := parseKey(entries[kid], alg)
		if err == nil {
			err = keys.Add(kid, key)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("keys file, key %.140q: %w", kid, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return keys, nil
}

func parseKey(raw json.RawMessage, want Alg) (Key, error) {
	var entry struct {
		Alg *Alg    `json:"alg"`
		Key *string `json:"key"`
	}
	if raw[0] == '"' {
		text := unescape(raw)
		entry.Alg, entry.Key = &want, &text
	} else {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		// The error of the decoder could quote the key.
		if dec.Decode(&entry) != nil || entry.Key == nil || entry.Alg == nil {
			return Key{}, errors.New(`want "base64url" or {"alg": …, "key": "base64url"}`)
		}
	}
	if *entry.Alg != want {
		if *entry.Alg == HMAC {
			return Key{}, errors.New("an HMAC key belongs into a file of its own, given as --hmac-keys")
		}
		return Key{}, fmt.Errorf("the algorithm is %.40q, want %s", *entry.Alg, want)
	}
	decoded, err := DecodeKey(*entry.Key)
	if err != nil {
		return Key{}, err
	}
	return NewKey(want, decoded)
}

// DecodeKey reads the base64url text of a key, with or without padding. Its
// errors never quote the text.
func DecodeKey(s string) ([]byte, error) {
	s = strings.TrimRight(strings.TrimSpace(s), "=")
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("the key is not base64url (RFC 4648 section 5)")
	}
	return decoded, nil
}

// FormatKeys writes a keys file of public keys.
func FormatKeys(keys *Keys) ([]byte, error) {
	type entry struct {
		Alg Alg    `json:"alg"`
		Key string `json:"key"`
	}
	out := make(map[string]entry, len(keys.byKID))
	for kid, key := range keys.byKID {
		if key.Alg != Ed25519 {
			return nil, fmt.Errorf("key %q is secret and is not written", kid)
		}
		out[kid] = entry{key.Alg, key.Encoded()}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

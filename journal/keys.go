package journal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cellos.io/cellos/event"
)

// A KeyError is a signing key that is configured but cannot be used, or one
// that cannot be made. Events are then not signed by anything else, and a
// supervisor does not start.
type KeyError struct {
	Setting string // the variable or the file at fault
	Err     error
}

func (e *KeyError) Error() string { return fmt.Sprintf("event signing: %s: %v", e.Setting, e.Err) }

// Unwrap returns what is wrong.
func (e *KeyError) Unwrap() error { return e.Err }

// The variables that choose the key.
const (
	envSigning = "CELLOS_EVENT_SIGNING"
	envKID     = "CELLOS_EVENT_SIGNING_KID"
	envKey     = "CELLOS_EVENT_SIGNING_KEY_BASE64"
	envKeyPath = "CELLOS_EVENT_SIGNING_KEY_PATH"
)

// KeysDir is where the keys lie below a state directory.
func KeysDir(stateDir string) string { return filepath.Join(stateDir, "keys") }

// LoadSigner returns the signer that the environment asks for. Without any
// setting that is the Ed25519 key of the host, made at the first call: however
// many processes start at once, they agree on one. The public key of an
// Ed25519 signer is left in the keys directory for verifiers.
func LoadSigner(getenv func(string) string, stateDir string) (event.Signer, error) {
	kid, text, path := getenv(envKID), getenv(envKey), getenv(envKeyPath)
	mode := getenv(envSigning)
	switch mode {
	case "off":
		if kid != "" || text != "" || path != "" {
			return nil, &KeyError{envSigning, errors.New("off, but a key is configured: unset one of the two")}
		}
		return event.Unsigned, nil
	case "", "ed25519", "hmac":
	default:
		return nil, &KeyError{envSigning, fmt.Errorf("unknown value %.40q: want ed25519, hmac or off", mode)}
	}
	if kid != "" {
		if err := event.CheckKID(kid); err != nil {
			return nil, &KeyError{envKID, err}
		}
	}
	key, setting, err := configuredKey(text, path)
	if err != nil {
		return nil, &KeyError{setting, err}
	}
	switch {
	case mode == "hmac" && key == nil:
		return nil, &KeyError{envSigning, fmt.Errorf("hmac needs a key: set %s or %s", envKeyPath, envKey)}
	case mode == "hmac":
		signer, err := event.NewHMACSigner(kid, key)
		if err != nil && kid == "" {
			setting, err = envKID, errors.New("an HMAC key needs a name")
		}
		if err != nil {
			return nil, &KeyError{setting, err}
		}
		return signer, nil
	case key == nil:
		return hostSigner(stateDir, kid)
	}
	signer, err := event.NewEd25519Signer(kid, key)
	if err != nil {
		return nil, &KeyError{setting, err}
	}
	if err := publish(stateDir, signer); err != nil {
		return nil, &KeyError{KeysDir(stateDir), err}
	}
	return signer, nil
}

// configuredKey reads the key from the environment, nil if there is none.
func configuredKey(text, path string) (key []byte, setting string, err error) {
	switch {
	case text != "" && path != "":
		return nil, envKeyPath, fmt.Errorf("%s is set as well: which of the two keys is meant?", envKey)
	case text != "":
		key, err = event.DecodeKey(text)
		return key, envKey, err
	case path != "":
		key, err = readKey(path)
		return key, envKeyPath, err
	}
	return nil, "", nil
}

// maxKeyFile bounds what is read where a key should be.
const maxKeyFile = 4 << 10

// readKey reads a secret key, and refuses one that others could have read or
// replaced.
func readKey(path string) ([]byte, error) {
	// A FIFO would block the open, and is refused below.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %#o, others may read the key: chmod 600 it", path, info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user %d, who could replace the key", path, st.Uid)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is too long for a key", path)
	}
	key, err := event.DecodeKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// hostSigner returns the host's own key, or the one named kid, making it if it
// does not exist. Everything happens under a lock of the directory.
func hostSigner(stateDir, kid string) (event.Signer, error) {
	dir := KeysDir(stateDir)
	signer, err := lockedHostSigner(dir, kid)
	if err != nil {
		return nil, &KeyError{dir, err}
	}
	return signer, nil
}

func lockedHostSigner(dir, kid string) (event.Signer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w (CELLOS_STATE_DIR names another state directory)", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	lock := &file{File: d, path: dir, fd: int(d.Fd())}
	if err := lock.lock(lockWait); err != nil {
		return nil, err
	}
	defer lock.unlock()

	kid, err = chooseKey(dir, kid)
	if err != nil {
		return nil, err
	}
	var seed []byte
	if kid != "" {
		seed, err = readKey(filepath.Join(dir, kid+".key"))
	}
	if kid == "" || errors.Is(err, os.ErrNotExist) {
		return createKey(dir, kid)
	}
	if err != nil {
		return nil, err
	}
	signer, err := event.NewEd25519Signer(kid, seed)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", kid, err)
	}
	return signer, writePublic(dir, signer)
}

// chooseKey returns kid, or without one the only key there is, or "".
func chooseKey(dir, kid string) (string, error) {
	if kid != "" {
		return kid, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var kids []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".key"); ok && event.CheckKID(name) == nil {
			kids = append(kids, name)
		}
	}
	switch len(kids) {
	case 0:
		return "", nil
	case 1:
		return kids[0], nil
	}
	return "", fmt.Errorf("there are several keys, choose one with %s: %s", envKID, strings.Join(kids, ", "))
}

// createKey makes a key under the lock of its directory.
func createKey(dir, kid string) (event.Signer, error) {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // it never fails
	signer, err := event.NewEd25519Signer(kid, seed)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.EncodeToString(seed) + "\n"
	if err := writeWhole(filepath.Join(dir, signer.KID()+".key"), []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return signer, writePublic(dir, signer)
}

// publish leaves the public key of a configured signer for verifiers.
func publish(stateDir string, signer event.Signer) error {
	dir := KeysDir(stateDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return writePublic(dir, signer)
}

// writePublic writes KID.pub.json unless it is there. Another key under the
// same name would make older records look forged, so it is refused.
func writePublic(dir string, signer event.Signer) error {
	key, ok := event.PublicKey(signer)
	if !ok {
		return nil
	}
	path := filepath.Join(dir, signer.KID()+".pub.json")
	if src, err := os.ReadFile(path); err == nil {
		keys, err := event.ParseKeys(src)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if old, ok := keys.Get(signer.KID()); !ok || !old.Equal(key) {
			return fmt.Errorf("%s has another key of this name: choose another %s", path, envKID)
		}
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	keys := new(event.Keys)
	if err := keys.Add(signer.KID(), key); err != nil {
		return err
	}
	text, err := event.FormatKeys(keys)
	if err != nil {
		return err
	}
	return writeWhole(path, text, 0o644)
}

// writeWhole makes a file appear complete or not at all:
//
//	create temporary, write, fsync → rename → fsync directory
//
// The mode is set explicitly, whatever the umask is.
func writeWhole(path string, text []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// PublicKeys returns every public key of a state directory: what the host says
// of itself, which proves nothing to whoever does not trust the host.
func PublicKeys(stateDir string) (*event.Keys, error) {
	paths, err := filepath.Glob(filepath.Join(KeysDir(stateDir), "*.pub.json"))
	if err != nil {
		return nil, err
	}
	all := new(event.Keys)
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		keys, err := event.ParseKeys(src)
		if err == nil {
			err = all.Merge(keys)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}

package event

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// Alg is how a record is signed. A record states it; what counts is the key.
type Alg string

// The algorithms. None means that a record is linked but not signed.
const (
	Ed25519 Alg = "ed25519"
	HMAC    Alg = "hmac-sha256"
	None    Alg = "none"
)

// minHMACKey is the size of the hash: a shorter key weakens it (RFC 2104
// section 3).
const minHMACKey = sha256.Size

// A Signer signs records. It is safe for concurrent use.
type Signer interface {
	// KID names the key to whoever verifies. It is empty if Alg is None.
	KID() string
	Alg() Alg
	// Sign returns the signature of message, nil if Alg is None.
	Sign(message []byte) ([]byte, error)
}

// NewEd25519Signer returns a signer for a 32-byte seed (RFC 8032 section
// 5.1.5). An empty kid becomes the thumbprint of the public key.
func NewEd25519Signer(kid string, seed []byte) (Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("an Ed25519 seed has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	private := ed25519.NewKeyFromSeed(seed)
	if kid == "" {
		kid = Thumbprint(private.Public().(ed25519.PublicKey))
	}
	if err := CheckKID(kid); err != nil {
		return nil, err
	}
	return &ed25519Signer{kid: kid, private: private}, nil
}

type ed25519Signer struct {
	kid     string
	private ed25519.PrivateKey
}

func (s *ed25519Signer) KID() string { return s.kid }
func (s *ed25519Signer) Alg() Alg    { return Ed25519 }
func (s *ed25519Signer) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(s.private, message), nil
}

// Public returns the key that verifies what s signs.
func (s *ed25519Signer) Public() Key {
	return Key{Alg: Ed25519, bytes: s.private.Public().(ed25519.PublicKey)}
}

// PublicKey returns the key that verifies what s signs, if it may be shown to
// anyone: an HMAC key may not.
func PublicKey(s Signer) (Key, bool) {
	if p, ok := s.(interface{ Public() Key }); ok {
		return p.Public(), true
	}
	return Key{}, false
}

// NewHMACSigner returns a signer whose key verifies as well. It has no
// thumbprint, because that would be a hash of the secret, so it needs a kid.
func NewHMACSigner(kid string, key []byte) (Signer, error) {
	if err := CheckKID(kid); err != nil {
		return nil, err
	}
	if len(key) < minHMACKey {
		return nil, fmt.Errorf("an HMAC key needs %d bytes or more, not %d", minHMACKey, len(key))
	}
	return &hmacSigner{kid: kid, key: append([]byte(nil), key...)}, nil
}

type hmacSigner struct {
	kid string
	key []byte
}

func (s *hmacSigner) KID() string { return s.kid }
func (s *hmacSigner) Alg() Alg    { return HMAC }
func (s *hmacSigner) Sign(message []byte) ([]byte, error) {
	return sumHMAC(s.key, message), nil
}

func sumHMAC(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}

// Unsigned links records without signing them.
var Unsigned Signer = unsigned{}

type unsigned struct{}

func (unsigned) KID() string                 { return "" }
func (unsigned) Alg() Alg                    { return None }
func (unsigned) Sign([]byte) ([]byte, error) { return nil, nil }

// A Key verifies signatures. It has exactly one algorithm, so a record cannot
// choose how it is verified.
type Key struct {
	Alg   Alg
	bytes []byte
}

// NewKey returns the key with the given bytes: an Ed25519 public key, or the
// secret of an HMAC.
func NewKey(alg Alg, key []byte) (Key, error) {
	switch {
	case alg == Ed25519 && len(key) != ed25519.PublicKeySize:
		return Key{}, fmt.Errorf("an Ed25519 public key has %d bytes, not %d", ed25519.PublicKeySize, len(key))
	case alg == HMAC && len(key) < minHMACKey:
		return Key{}, fmt.Errorf("an HMAC key needs %d bytes or more, not %d", minHMACKey, len(key))
	case alg != Ed25519 && alg != HMAC:
		return Key{}, fmt.Errorf("unknown algorithm %.40q: want %s or %s", alg, Ed25519, HMAC)
	}
	return Key{Alg: alg, bytes: append([]byte(nil), key...)}, nil
}

// Verify reports whether signature is k's for message.
func (k Key) Verify(message, signature []byte) bool {
	switch k.Alg {
	case Ed25519:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(k.bytes, message, signature)
	case HMAC:
		return hmac.Equal(sumHMAC(k.bytes, message), signature)
	}
	return false
}

// Encoded is the key in base64url. For an HMAC key that is the secret itself.
func (k Key) Encoded() string { return base64.RawURLEncoding.EncodeToString(k.bytes) }

// Equal reports whether both keys verify the same signatures.
func (k Key) Equal(other Key) bool {
	return k.Alg == other.Alg && hmac.Equal(k.bytes, other.bytes)
}

// Thumbprint is the name of a key that nobody named: the JWK thumbprint of
// RFC 7638 with the members of RFC 8037 appendix A.3.
func Thumbprint(public ed25519.PublicKey) string {
	jwk := `{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`
	sum := sha256.Sum256([]byte(jwk))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ErrKID is a key id that cannot be used.
var ErrKID = errors.New("a key id has 1 to 128 of A-Z a-z 0-9 . _ - and does not begin with a dot")

// CheckKID refuses a key id that could not be a file name.
func CheckKID(kid string) error {
	if kid == "" || len(kid) > 128 || kid[0] == '.' {
		return fmt.Errorf("key id %.140q: %w", kid, ErrKID)
	}
	for _, b := range []byte(kid) {
		if (b|0x20 < 'a' || b|0x20 > 'z') && (b < '0' || b > '9') && b != '.' && b != '_' && b != '-' {
			return fmt.Errorf("key id %.140q: %w", kid, ErrKID)
		}
	}
	return nil
}

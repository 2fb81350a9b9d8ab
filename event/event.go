package event

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// TypePrefix begins the type of every event of a cell.
const TypePrefix = "dev.cellos.events.cell."

// EnvelopeType is the CloudEvents type of a wrapped record.
const EnvelopeType = "dev.cellos.events.signed_envelope.v1"

// Data is the payload of an event. Each type of event is one Go type.
type Data interface {
	// EventType is the CloudEvents type, TypePrefix included.
	EventType() string
}

// A Scope is what an event belongs to. Fields that do not exist yet are empty
// and do not appear in the data.
type Scope struct {
	SpecID string
	CellID string
	RunID  string
}

// Subject is the CloudEvents subject of a cell's events.
func (s Scope) Subject() string {
	if s.CellID != "" {
		return "urn:cellos:cell:" + s.CellID
	}
	if s.SpecID != "" {
		return "urn:cellos:spec:" + s.SpecID
	}
	return ""
}

// Source is the CloudEvents source of everything that one supervisor emits.
func Source(host, instance string) string {
	return "cellos://" + host + "/supervisor/" + instance
}

// An Event is a payload and the attributes that place it. Its chain and its
// signature are added when it is encoded.
type Event struct {
	ID      string
	Source  string
	Subject string
	Time    time.Time
	Scope   Scope
	Data    Data
}

// A Ref names an event in a chain.
type Ref struct {
	ID   string
	Seq  uint64
	Type string
}

// New returns an event about scope with a fresh id. The subject is the cell's;
// a caller with a better one overwrites it.
func New(source string, scope Scope, at time.Time, data Data) *Event {
	return &Event{ID: NewID(at), Source: source, Subject: scope.Subject(), Time: at, Scope: scope, Data: data}
}

// NewID returns a UUIDv7 (RFC 9562 section 5.7): ids sort by the millisecond
// of their event, and 74 random bits tell apart those within it.
func NewID(at time.Time) string {
	var u [16]byte
	// rand.Read never fails: it ends the program if there is no randomness.
	_, _ = rand.Read(u[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80

	var s [36]byte
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// IsID reports whether s has the form of an id that NewID made.
func IsID(s string) bool {
	if len(s) != 36 || s[14] != '7' {
		return false
	}
	for i, b := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hexDigit := b >= '0' && b <= '9' || b >= 'a' && b <= 'f'
		if dash != (b == '-') || !dash && !hexDigit {
			return false
		}
	}
	return true
}

// DataSchema names the schema of an event type's data. It is a name, not an
// address: nothing has to be fetched to read a trail.
func DataSchema(eventType string) string { return "urn:cellos:schema:" + eventType }

// Suffix is what comes after TypePrefix, for people to read.
func Suffix(eventType string) string { return strings.TrimPrefix(eventType, TypePrefix) }

// Family is the first element after TypePrefix, such as "lifecycle".
func Family(eventType string) string {
	family, _, _ := strings.Cut(Suffix(eventType), ".")
	return family
}

// timeLayout is RFC 3339 with exactly nine decimals, so that the text of two
// times compares like the times.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// FormatTime is how every time in a record is written.
func FormatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// A Timestamp is a time inside an event's data.
type Timestamp struct{ time.Time }

// MarshalText writes t as FormatTime does.
func (t Timestamp) MarshalText() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)), timeLayout), nil
}

// MarshalJSON overrides the method promoted from time.Time, whose number of
// decimals varies.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}

// A List is a slice that is [] in JSON if there is nothing in it, so that
// readers need not tell null from empty.
type List[T any] []T

// MarshalJSON implements json.Marshaler.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// A Digest is the SHA-256 of a record's signed bytes.
type Digest [32]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes d in lower-case hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// ParseDigest reads 64 lower-case hex digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) || strings.ToLower(s) != s {
		return d, fmt.Errorf("%.80q is not a digest: want 64 lower-case hex digits", s)
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, fmt.Errorf("%.80q is not a digest: want 64 lower-case hex digits", s)
	}
	return d, nil
}

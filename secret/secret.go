// Package secret holds values that must not be seen. A Value prints, formats
// and marshals as a placeholder, so that logging one by accident shows
// nothing; Reveal is the only way to its bytes.
//
// Where values come from is the business of the packages below: each is a
// broker, tested by package secrettest.
package secret

import (
	"errors"
	"fmt"
	"log/slog"
)

const placeholder = "[secret]"

// A Value is one secret. The zero Value is an empty secret.
type Value struct{ bytes []byte }

// New takes over the bytes; the caller must not keep them.
func New(b []byte) Value { return Value{bytes: b} }

// Reveal returns the secret itself. The slice is the Value's own: it is not to
// be changed or kept.
func (v Value) Reveal() []byte { return v.bytes }

// Wipe overwrites the secret. Copies that the runtime or the caller made are
// out of its reach.
func (v Value) Wipe() { clear(v.bytes) }

// String hides the secret.
func (Value) String() string { return placeholder }

// GoString hides the secret from %#v.
func (Value) GoString() string { return placeholder }

// Format hides the secret from every verb of package fmt.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(placeholder)) }

// MarshalText hides the secret from encoders.
func (Value) MarshalText() ([]byte, error) { return []byte(placeholder), nil }

// LogValue hides the secret from log/slog.
func (Value) LogValue() slog.Value { return slog.StringValue(placeholder) }

// ErrNotFound is the cause of a failed look-up whose secret does not exist.
var ErrNotFound = errors.New("no such secret")

// An Error says which secret could not be had, from which broker, and what
// would help. It never contains a value.
type Error struct {
	Broker string
	Name   string // logical name, as declared
	Cause  error
	Remedy string
}

func (e *Error) Error() string {
	s := fmt.Sprintf("secret %q: broker %s: %v", e.Name, e.Broker, e.Cause)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Lease is what a broker handed out for one cell. What it lists can be revoked
// when the cell ends.
type Lease struct {
	// ID names the lease at the broker; empty where nothing can be revoked.
	ID     string
	Values map[string]Value
}

// Wipe overwrites every value of the lease.
func (l *Lease) Wipe() {
	for _, v := range l.Values {
		v.Wipe()
	}
}

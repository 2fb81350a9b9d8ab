// Package secrettest is the conformance suite of secret brokers. A provider's
// own test is a harness of a few lines that puts a secret where the provider
// finds it.
package secrettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cellos.io/cellos/secret"
)

// Broker is what the supervisor asks of a provider.
type Broker interface {
	// Name is the provider's name in CELLOS_BROKER.
	Name() string
	// Resolve returns all of the named secrets or none. cell identifies the
	// lease at the provider.
	Resolve(ctx context.Context, cell string, names []string) (*secret.Lease, error)
	// Revoke ends a lease. Revoking one that is unknown or has ended succeeds.
	Revoke(ctx context.Context, id string) error
}

// Harness is a provider with a way to fill it.
type Harness struct {
	Broker Broker
	// Put makes the provider know a secret.
	Put func(t *testing.T, name, value string)
}

// Run runs the suite; newHarness is called for each test.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	const value = "s3cr3t \x00 \n value"
	t.Run("resolves exactly what was asked", func(t *testing.T) {
		h := newHarness(t)
		h.Put(t, "api-token", value)
		h.Put(t, "other", "not asked for")
		lease, err := h.Broker.Resolve(t.Context(), "cell-1", []string{"api-token"})
		if err != nil {
			t.Fatal(err)
		}
		if len(lease.Values) != 1 || string(lease.Values["api-token"].Reveal()) != value {
			t.Fatalf("got %d values, api-token right: %v", len(lease.Values),
				string(lease.Values["api-token"].Reveal()) == value)
		}
	})
	t.Run("names every missing secret and gives none", func(t *testing.T) {
		h := newHarness(t)
		h.Put(t, "present", value)
		lease, err := h.Broker.Resolve(t.Context(), "cell-1", []string{"gone-1", "present", "gone-2"})
		if lease != nil {
			t.Error("a lease was handed out although secrets are missing")
		}
		if !errors.Is(err, secret.ErrNotFound) {
			t.Fatalf("error is %v, want ErrNotFound", err)
		}
		for _, want := range []string{"gone-1", "gone-2", h.Broker.Name()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error does not name %q: %v", want, err)
			}
		}
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Error("the error contains a secret")
		}
	})
	t.Run("an empty secret is a secret", func(t *testing.T) {
		h := newHarness(t)
		h.Put(t, "empty", "")
		lease, err := h.Broker.Resolve(t.Context(), "cell-1", []string{"empty"})
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := lease.Values["empty"]; !ok || len(v.Reveal()) != 0 {
			t.Error("the empty secret is not there")
		}
	})
	t.Run("values do not print", func(t *testing.T) {
		h := newHarness(t)
		h.Put(t, "token", value)
		lease, err := h.Broker.Resolve(t.Context(), "cell-1", []string{"token"})
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(lease)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", lease.Values, *lease, lease.Values["token"],
			lease.Values["token"], lease.Values["token"], lease.Values["token"]), string(encoded)} {
			if strings.Contains(shown, "s3cr3t") || strings.Contains(shown, fmt.Sprintf("%x", "s3cr3t")) {
				t.Errorf("a secret was printed: %s", shown)
			}
		}
	})
	t.Run("revoking twice and revoking the unknown succeed", func(t *testing.T) {
		h := newHarness(t)
		h.Put(t, "token", value)
		lease, err := h.Broker.Resolve(t.Context(), "cell-1", []string{"token"})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{lease.ID, lease.ID, "never-issued"} {
			if err := h.Broker.Revoke(t.Context(), id); err != nil {
				t.Errorf("revoke %q: %v", id, err)
			}
		}
	})
}

// Package env is the secret broker that reads the supervisor's environment:
// the secret "npm-token" is the value of CELLOS_SECRET_NPM_TOKEN. It has
// nothing to revoke.
package env

import (
	"context"
	"errors"
	"strings"

	"cellos.io/cellos/secret"
)

// Prefix starts the name of every variable that holds a secret.
const Prefix = "CELLOS_SECRET_"

// Broker reads secrets from environment variables.
type Broker struct {
	lookup func(string) (string, bool)
}

// New returns a broker over the given environment, usually os.LookupEnv.
func New(lookup func(string) (string, bool)) *Broker { return &Broker{lookup: lookup} }

// Name is the value of CELLOS_BROKER that selects this broker.
func (*Broker) Name() string { return "env" }

// Variable is the name of the variable that holds a secret.
func Variable(name string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Resolve looks up every name. A variable that is set but empty is an empty
// secret. If any is missing it returns no lease, and an error for each.
func (b *Broker) Resolve(_ context.Context, _ string, names []string) (*secret.Lease, error) {
	lease := &secret.Lease{Values: make(map[string]secret.Value, len(names))}
	var errs []error
	for _, name := range names {
		value, ok := b.lookup(Variable(name))
		if !ok {
			errs = append(errs, &secret.Error{
				Broker: b.Name(), Name: name, Cause: secret.ErrNotFound,
				Remedy: "set " + Variable(name) + " for the supervisor",
			})
			continue
		}
		lease.Values[name] = secret.New([]byte(value))
	}
	if len(errs) > 0 {
		lease.Wipe()
		return nil, errors.Join(errs...)
	}
	return lease, nil
}

// Revoke does nothing: an environment variable cannot be revoked.
func (*Broker) Revoke(context.Context, string) error { return nil }

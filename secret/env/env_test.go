package env_test

import (
	"testing"

	"cellos.io/cellos/secret/env"
	"cellos.io/cellos/secret/secrettest"
)

func TestConformance(t *testing.T) {
	secrettest.Run(t, func(t *testing.T) secrettest.Harness {
		vars := map[string]string{}
		return secrettest.Harness{
			Broker: env.New(func(name string) (string, bool) {
				v, ok := vars[name]
				return v, ok
			}),
			Put: func(_ *testing.T, name, value string) { vars[env.Variable(name)] = value },
		}
	})
}

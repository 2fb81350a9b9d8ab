package compose

import (
	"errors"
	"strings"
	"testing"

	"cellos.io/cellos/plan"
)

// base is an environment that this build accepts.
func base(more ...string) []string {
	return append([]string{"CELLOS_DEPLOYMENT_PROFILE=portable", "CELLOS_CELL_BACKEND=stub", "PATH=/bin", "HOME=/root"}, more...)
}

func TestReadSettings(t *testing.T) {
	s, err := ReadSettings(base(
		"CELLOS_SUBPROCESS_UNSHARE=net, uts", "CELLOS_DNS_PROXY=0", "CELL_OS_JSONL_EVENTS=/tmp/x",
		"CELLOS_RUN_TIMEOUT_MS=1500", "CELLOS_RUN_ARGV0_ALLOW_PREFIXES=/usr/bin,/bin"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Unshare != (plan.Namespaces{Net: true, UTS: true}) || s.DNSProxy != plan.Off || s.JSONLPath != "/tmp/x" ||
		s.RunTimeoutMax.Milliseconds() != 1500 || len(s.Argv0Prefixes) != 2 || len(s.Warnings) != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestUnshareOneIsFourNamespaces(t *testing.T) {
	s, err := ReadSettings(base("CELLOS_SUBPROCESS_UNSHARE=1"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Unshare != (plan.Namespaces{PID: true, IPC: true, Mnt: true, Net: true}) {
		t.Errorf("got %+v", s.Unshare)
	}
}

// Each of these is one fault; the message must name the setting.
func TestBadSettings(t *testing.T) {
	for _, kv := range []string{
		"CELLOS_DEPLOYMENT_PROFILE=lax",
		"CELLOS_CELL_BACKEND=docker",
		"CELLOS_BROKER=keychain",
		"CELLOS_SUBPROCESS_UNSHARE=net,time",
		"CELLOS_DNS_PROXY=yes",
		"CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE=localhost:53",
		"CELLOS_DNS_PROXY_UPSTREAM_OVERRIDE=127.0.0.1:0",
		"CELLOS_RUN_TIMEOUT_MS=0",
		"CELLOS_RUN_TIMEOUT_MS=1s",
		"CELLOS_STATE_DIR=relative",
		"CELLOS_VALIDATE_ONLY=true",
	} {
		name, _, _ := strings.Cut(kv, "=")
		_, err := ReadSettings(base(kv))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", kv, err)
		}
		var unbuilt *UnbuiltError
		if errors.As(err, &unbuilt) {
			t.Errorf("%s: taken for something that is only not built: %v", kv, err)
		}
	}
}

// A setting that this build cannot honour is refused by name, never ignored.
func TestUnbuiltSettingsAreRefused(t *testing.T) {
	settings := []string{"CELLOS_BROKER=vault-approle", "CELLOS_CELL_BACKEND=firecracker"}
	for _, v := range variables {
		if v.unbuilt != "" {
			settings = append(settings, strings.TrimSuffix(v.name, "*")+"X=1")
			if !strings.HasSuffix(v.name, "*") {
				settings[len(settings)-1] = v.name + "=1"
			}
		}
	}
	for _, kv := range settings {
		name, _, _ := strings.Cut(kv, "=")
		_, err := ReadSettings(base(kv))
		var unbuilt *UnbuiltError
		if !errors.As(err, &unbuilt) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", kv, err)
		}
		if out := settingsOutcome(err); out.Code != 122 {
			t.Errorf("%s: exit %d, want 122", kv, out.Code)
		}
	}
}

func TestUnknownNamesAreToldApart(t *testing.T) {
	s, err := ReadSettings(base("CELLOS_DNS_PROXXY=1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "CELLOS_DNS_PROXY?") {
		t.Errorf("warnings %q, want one with the nearest name", s.Warnings)
	}
	if _, err := ReadSettings(base("CELLOS_DNS_PROXXY=1", "CELLOS_STRICT_CONFIG=1")); err == nil {
		t.Error("CELLOS_STRICT_CONFIG let a warning pass")
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	_, err := ReadSettings(base("CELLOS_DNS_PROXY=maybe", "CELLOS_RUN_TIMEOUT_MS=-1", "CELLOS_NATS_URL=nats://x"))
	for _, want := range []string{"CELLOS_DNS_PROXY", "CELLOS_RUN_TIMEOUT_MS", "CELLOS_NATS_URL"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	if out := settingsOutcome(err); out.Code != 125 {
		t.Errorf("exit %d, want 125: not all of it is a matter of the build", out.Code)
	}
}

// The two names of one setting may agree.
func TestAliases(t *testing.T) {
	if _, err := ReadSettings(base("CELLOS_JSONL_SINK_PATH=/a", "CELL_OS_JSONL_EVENTS=/a")); err != nil {
		t.Error(err)
	}
	if _, err := ReadSettings(base("CELLOS_JSONL_SINK_PATH=/a", "CELL_OS_JSONL_EVENTS=/b")); err == nil {
		t.Error("two different paths for one sink were accepted")
	}
}

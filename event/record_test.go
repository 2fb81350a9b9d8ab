package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 67, time.UTC)

func testSigner(tb testing.TB) Signer {
	tb.Helper()
	s, err := NewEd25519Signer("", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testHMAC(tb testing.TB) Signer {
	tb.Helper()
	s, err := NewHMACSigner("shared", bytes.Repeat([]byte{9}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// everyEvent has each type of event once, with every field set.
func everyEvent() []Data {
	code := 3
	until := Timestamp{testTime}
	placement := &Placement{PoolID: "p", KubernetesNamespace: "ns", QueueName: "q"}
	return []Data{
		AdmissionDecided{Verdict: VerdictDenied, Violations: List[Violation]{{Path: "spec.id", Rule: "r", Remedy: "x"}}, PolicyPackID: "pack", PolicyPackVersion: "1", PolicyPackDigest: "d", SpecHash: "h"},
		LifecycleStarted{Backend: "stub", Profile: "portable", Isolation: map[string]Control{"network": {"enforced", "netns"}}, Namespaces: []string{"net"}, SpecHash: "h", Placement: placement, NetworkRulesDigest: "n", ImageDigest: "i", KernelDigestSHA256: "k", RootfsDigestSHA256: "r", FirecrackerDigestSHA256: "f"},
		IdentityMaterialized{KeyNames: List[string]{"TOKEN"}, Delivery: "env", LeaseID: "l"},
		IdentityFailed{KeyNames: List[string]{"TOKEN"}, Delivery: "env", Reason: "not set"},
		IdentityRevoked{KeyNames: List[string]{"TOKEN"}, LeaseID: "l", Error: "e"},
		ProcessSpawned{Program: "/bin/true", Argc: 1, PID: 2},
		DNSQuery{QueryName: "api.example.com", QueryType: "A", Decision: Allow, ReasonCode: "allowed_by_allowlist", UpstreamResolverID: "r", Answers: List[string]{"192.0.2.1"}, BoundAddress: "198.18.0.20", DurationMicros: 5, Transport: "udp", Tally: Tally{1, until, until}},
		CommandCompleted{Argv: List[string]{"/bin/sh", "-c", "exit 3"}, ExitCode: &code, Signal: "SIGKILL", SpawnError: "s", Reason: "ttl", DurationMs: 4, Usage: &Usage{1, 2}},
		ComplianceSummary{LifetimeTTLSeconds: 60, EgressRuleCount: 1, SecretDeliveryMode: "env", PolicyPackID: "p", PolicyPackVersion: "1", PolicyPackBundleDigest: "d", Placement: placement, CommandExitCode: &code, Correlation: &Correlation{CorrelationID: "c", TenantID: "t", Platform: "p", ExternalRunID: "r", ExternalJobID: "j", Labels: map[string]string{"a": "b"}}},
		LifecycleDestroyed{Outcome: OutcomeSucceeded, Reason: "r", ResidueClass: ResidueNone, EvidenceBundleRef: BundleRef("id"), TerminalState: "clean"},
		EvidenceBundle{ChainID: "run", LastSeq: 3, Counts: map[string]int64{"t": 4}, SpecHash: "h", StartedEventRef: "s", CellDestroyedEventRef: "d", CommandCompletedEventRef: "c", ComplianceSummaryEventRef: "m", IdentityEventRefs: []string{"i"}, SpawnedEventRefs: []string{"p"}, ExportEventRefs: []string{"e"}, ResidueClass: ResidueNone, Receipt: List[Resource]{{"process", "1", MethodPidfd, StrengthVerified, ""}}, Recovered: true, CountsCompleteUntil: &until},
		AuditRecovered{Bytes: 3, SHA256: "s", File: "f"},
		RunOpened{SpecHash: "h"},
		RunSealed{ChainSeq: 3},
	}
}

func TestEveryEventRoundTrips(t *testing.T) {
	for name, signer := range map[string]Signer{"ed25519": testSigner(t), "hmac": testHMAC(t), "off": Unsigned} {
		for _, envelope := range []Envelope{Flat, Wrapped} {
			enc := Encoder{Signer: signer, Envelope: envelope}
			for seq, data := range everyEvent() {
				ev := New(Source("host", "1"), Scope{"spec", "cell", "run"}, testTime, data)
				link := Link{Chain: "run", Seq: uint64(seq), Prev: Digest{1, 2, 3}}
				line, digest, err := enc.Encode(nil, ev, link)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, data.EventType(), err)
				}
				text := bytes.TrimSuffix(line, []byte{'\n'})
				if canonical, err := Canonical(nil, text); err != nil || !bytes.Equal(canonical, text) {
					t.Errorf("%s, %s is not canonical: %v\n%s\n%s", name, data.EventType(), err, text, canonical)
				}
				rec, err := ParseRecord(text)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, data.EventType(), err)
				}
				if rec.Link != link || rec.Digest != digest || rec.ID != ev.ID || rec.Type != data.EventType() ||
					rec.Subject != "urn:cellos:cell:cell" || !rec.Time.Equal(testTime) || rec.Source != "cellos://host/supervisor/1" ||
					rec.KID != signer.KID() || rec.Alg != signer.Alg() || rec.Scope() != ev.Scope {
					t.Errorf("%s: read back %+v", name, rec)
				}
				if bytes.Contains(line, []byte("null")) {
					t.Errorf("%s has a null in it: %s", data.EventType(), line)
				}
			}
		}
	}
}

// A reader must find the fields that the contract names, spelled so.
func TestFieldNames(t *testing.T) {
	enc := Encoder{Signer: testSigner(t)}
	want := map[string]string{
		"lifecycle.v1.started":             "backend isolation specHash placement networkRulesDigest imageDigest kernelDigestSha256 rootfsDigestSha256 firecrackerDigestSha256 specId cellId runId",
		"observability.v1.dns_query":       "queryName queryType decision reasonCode responseRcode upstreamResolverId answers boundAddress durationMicros transport count firstTime lastTime",
		"command.v1.completed":             "argv exitCode signal spawnError durationMs usage",
		"compliance.v1.summary":            "lifetimeTtlSeconds egressRuleCount secretDeliveryMode policyPackId policyPackVersion policyPackBundleDigest placement commandExitCode correlation",
		"lifecycle.v1.destroyed":           "outcome reason residueClass evidenceBundleRef terminalState",
		"evidence_bundle.v1.emitted":       "chainId firstSeq lastSeq headDigest counts receipt remaining recovered countsCompleteUntil",
		"audit.v1.recovered":               "bytes sha256 file",
		"host.v1.run_opened":               "runId specHash",
		"host.v1.run_sealed":               "runId chainSeq digest",
		"admission.v1.decided":             "verdict violations policyPackId policyPackVersion policyPackDigest",
		"observability.v1.process_spawned": "program argc pid",
		"identity.v1.materialized":         "keyNames delivery leaseId",
	}
	for _, data := range everyEvent() {
		names, ok := want[Suffix(data.EventType())]
		if !ok {
			continue
		}
		delete(want, Suffix(data.EventType()))
		line, _, err := enc.Encode(nil, New("s", Scope{"spec", "cell", "run"}, testTime, data), Link{Chain: "run"})
		if err != nil {
			t.Fatal(err)
		}
		var rec struct{ Data map[string]any }
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(names) {
			if _, ok := rec.Data[name]; !ok {
				t.Errorf("%s has no %s", data.EventType(), name)
			}
		}
	}
	for name := range want {
		t.Errorf("no event is a %s", name)
	}
}

func TestEmptyListsAreNotNull(t *testing.T) {
	enc := Encoder{Signer: Unsigned}
	for _, data := range everyEvent() {
		zero := reflect.New(reflect.TypeOf(data)).Elem().Interface().(Data)
		if _, ok := zero.(EvidenceBundle); ok {
			zero = EvidenceBundle{Counts: map[string]int64{}}
		}
		if _, ok := zero.(LifecycleStarted); ok {
			zero = LifecycleStarted{Isolation: map[string]Control{}}
		}
		line, _, err := enc.Encode(nil, New("s", Scope{}, testTime, zero), Link{Chain: "run"})
		if err != nil || bytes.Contains(line, []byte("null")) {
			t.Errorf("%s: %v: %s", data.EventType(), err, line)
		}
	}
}

type badData struct{ v any }

func (badData) EventType() string              { return TypePrefix + "test.v1.bad" }
func (b badData) MarshalJSON() ([]byte, error) { return json.Marshal(b.v) }

func TestEncodeRefuses(t *testing.T) {
	enc := Encoder{Signer: Unsigned}
	for name, test := range map[string]struct {
		data any
		want string
	}{
		"big integer":    {map[string]any{"n": int64(1) << 53}, "2^53"},
		"not an object":  {[]int{1}, "not a JSON object"},
		"own scope":      {map[string]any{"runId": "other"}, "duplicate"},
		"too large":      {map[string]any{"s": strings.Repeat("x", MaxRecord)}, "too large"},
		"not marshalled": {map[string]any{"f": func() {}}, "unsupported"},
	} {
		dst := []byte("before")
		got, _, err := enc.Encode(dst, New("s", Scope{RunID: "run"}, testTime, badData{test.data}), Link{Chain: "run"})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if string(got) != "before" {
			t.Errorf("%s: left %q", name, got)
		}
	}
}

func TestParseRecordRefuses(t *testing.T) {
	flat := Encoder{Signer: testSigner(t)}
	wrapped := Encoder{Signer: testSigner(t), Envelope: Wrapped}
	ev := New("s", Scope{RunID: "run"}, testTime, ProcessSpawned{Program: "x"})
	f, _, _ := flat.Encode(nil, ev, Link{Chain: "run"})
	w, _, _ := wrapped.Encode(nil, ev, Link{Chain: "run"})
	for _, test := range []struct {
		line     []byte
		old, new string
		class    FaultClass
	}{
		{f, `"cellosseq":"0"`, `"cellosseq":"00"`, FaultMalformed},
		{f, `"cellosseq":"0"`, `"cellosseq":0`, FaultMalformed},
		{f, `"cellosseq":"0"`, `"cellosseq":"-1"`, FaultMalformed},
		{f, `"cellosseq":"0"`, `"cellosseq":"9007199254740993"`, FaultMalformed},
		{f, `"cellosalg":"ed25519"`, `"cellosalg":"none"`, FaultMalformed},
		{f, `"cellosalg":"ed25519"`, `"cellosalg":"rot13"`, FaultMalformed},
		{f, `"cellosprev":"0`, `"cellosprev":"A`, FaultMalformed},
		{f, `"celloschain":"run"`, `"celloschain":""`, FaultMalformed},
		{f, `"celloskid"`, `"kid"`, FaultMalformed},
		{f, `"cellossig":"`, `"cellossig":"!`, FaultMalformed},
		{f, `"specversion":"1.0"`, `"specversion":"0.3"`, FaultMalformed},
		{f, `"data":{`, `"data":1,"x":{`, FaultMalformed},
		{f, `"time":"2026`, `"time":"x`, FaultMalformed},
		{f, `"application/json"`, `"text/plain"`, FaultMalformed},
		{f, `{"cellosalg"`, `{"id":"twice","cellosalg"`, FaultMalformed},
		{f, "{", "[{", FaultMalformed},
		{w, `"chainSeq":0`, `"chainSeq":"0"`, FaultMalformed},
		{w, `"chainSeq":0`, `"chainSeq":0.5`, FaultMalformed},
		{w, `"chainSeq":0,`, ``, FaultMalformed},
		{w, `"event":{`, `"event":1,"x":{`, FaultMalformed},
		{w, `{"alg"`, `{"more":1,"alg"`, FaultMalformed},
		{w, `"event":{`, `"event":{"cellosseq":"1",`, FaultMalformed},
		{w, `{"data":{"alg"`, `{"cellosseq":"0","data":{"alg"`, FaultMalformed},
		{w, `"source":"s","specversion":"1.0","time":"2026-01-02T03:04:05.000000067Z","type":"dev.cellos.events.signed_envelope.v1"`, `"source":"other","specversion":"1.0","time":"2026-01-02T03:04:05.000000067Z","type":"dev.cellos.events.signed_envelope.v1"`, FaultEnvelope},
	} {
		line := bytes.Replace(test.line, []byte(test.old), []byte(test.new), 1)
		if bytes.Equal(line, test.line) {
			t.Errorf("%s is not in the record", test.old)
		}
		if _, err := ParseRecord(line); !errors.Is(err, test.class) {
			t.Errorf("%s → %s: got %v, want %v", test.old, test.new, err, test.class)
		}
	}
	if _, err := ParseRecord(bytes.Repeat([]byte{' '}, MaxRecord+1)); !errors.Is(err, FaultMalformed) {
		t.Errorf("too long: %v", err)
	}
}

func TestRedaction(t *testing.T) {
	for _, list := range []string{"", " , "} {
		if r, err := ParseRedactor(list); r != nil || err != nil {
			t.Errorf("%q: %v, %v", list, r, err)
		}
	}
	for _, list := range []string{"runId", "argv,digest", "keyNames"} {
		if _, err := ParseRedactor(list); err == nil {
			t.Errorf("%q was accepted", list)
		}
	}
	r, err := ParseRedactor("defaults, usage,exitCode,violations")
	if err != nil {
		t.Fatal(err)
	}
	enc := Encoder{Signer: testSigner(t), Redact: r}
	code := 1
	line, _, err := enc.Encode(nil, New("s", Scope{RunID: "run"}, testTime, CommandCompleted{
		Argv: List[string]{"/bin/sh", "-c", "hunter2"}, ExitCode: &code, Reason: "hunter2", Usage: &Usage{CPUMicros: 1},
	}), Link{Chain: "run"})
	if err != nil {
		t.Fatal(err)
	}
	want := `"data":{"argv":["[redacted]"],"durationMs":0,"exitCode":"[redacted]","reason":"[redacted]","runId":"run","usage":{}}`
	if !bytes.Contains(line, []byte(want)) || bytes.Contains(line, []byte("hunter2")) {
		t.Errorf("got %s", line)
	}
	rec, err := ParseRecord(line)
	if err != nil {
		t.Fatal(err)
	}
	if key, _ := PublicKey(enc.Signer); !key.Verify(rec.signed, rec.Signature) {
		t.Error("what was redacted was signed")
	}

	nested, err := r.apply([]byte(`{"a":[{"path":1.50},{"b":{"reason":null,"argv":"x","n":9007199254740991}}]}`))
	if err != nil || string(nested) != `{"a":[{"path":"[redacted]"},{"b":{"argv":"[redacted]","n":9007199254740991,"reason":null}}]}` {
		t.Errorf("got %s, %v", nested, err)
	}
}

func TestIDs(t *testing.T) {
	before := NewID(testTime)
	after := NewID(testTime.Add(time.Millisecond))
	if !IsID(before) || !IsID(after) || before >= after || before == NewID(testTime) {
		t.Errorf("%s, %s", before, after)
	}
	if variant := before[19]; !strings.ContainsRune("89ab", rune(variant)) {
		t.Errorf("variant %c", variant)
	}
	for _, s := range []string{"", "x", strings.ToUpper(before), strings.Replace(before, "-7", "-4", 1), before[:35] + "g", before[:35] + "-"} {
		if IsID(s) {
			t.Errorf("%q is an id", s)
		}
	}
}

func TestTimesHaveNineDecimals(t *testing.T) {
	whole := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	want := "2026-01-02T02:04:05.000000000Z"
	text, _ := json.Marshal(Timestamp{whole})
	if FormatTime(whole) != want || string(text) != `"`+want+`"` {
		t.Errorf("%s, %s", FormatTime(whole), text)
	}
}

// FuzzParseRecord checks that no bytes break the reader, and that what it reads
// has one meaning.
func FuzzParseRecord(f *testing.F) {
	for _, envelope := range []Envelope{Flat, Wrapped} {
		enc := Encoder{Signer: testSigner(f), Envelope: envelope}
		for _, data := range everyEvent() {
			line, _, err := enc.Encode(nil, New("s", Scope{RunID: "run"}, testTime, data), Link{Chain: "run"})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := ParseRecord(line)
		if err != nil {
			var fault *Fault
			if !errors.As(err, &fault) {
				t.Fatalf("an error without a class: %v", err)
			}
			return
		}
		canonical, err := Canonical(nil, line)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRecord(canonical)
		if err != nil || again.Digest != rec.Digest || again.Link != rec.Link {
			t.Fatalf("the canonical form means something else: %v", err)
		}
		rec.Scope()
	})
}

func BenchmarkEncode(b *testing.B) {
	enc := Encoder{Signer: testSigner(b)}
	data := everyEvent()[6]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, _, err = enc.Encode(buf[:0], New("s", Scope{"spec", "cell", "run"}, testTime, data), Link{Chain: "run"}); err != nil {
			b.Fatal(err)
		}
	}
}

package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Redacted replaces a value that was taken out of an event.
const Redacted = "[redacted]"

// protected are the fields that a verifier reads, or that recovery needs to
// finish a run. Without them a trail would look tampered with.
var protected = []string{
	"bytes", "cellId", "cellDestroyedEventRef", "chainId", "chainSeq", "count", "counts",
	"decision", "digest", "evidenceBundleRef", "file", "firstSeq", "firstTime", "headDigest",
	"keyNames", "lastSeq", "lastTime", "leaseId", "outcome", "reasonCode", "recovered", "residueClass",
	"runId", "sha256", "specHash", "specId", "verdict",
}

// A Redactor takes values out of events before they are signed.
type Redactor struct{ fields map[string]bool }

// ParseRedactor reads the value of CELLOS_REDACT_EVENT_FIELDS: names of fields
// of an event's data, at any depth, separated by commas. The name defaults
// stands for argv, path and reason. An empty list redacts nothing.
func ParseRedactor(list string) (*Redactor, error) {
	r := &Redactor{fields: make(map[string]bool)}
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "":
		case name == "defaults":
			r.fields["argv"], r.fields["path"], r.fields["reason"] = true, true, true
		case slices.Contains(protected, name):
			return nil, fmt.Errorf("field %q cannot be redacted: the trail could not be verified without it", name)
		default:
			r.fields[name] = true
		}
	}
	if len(r.fields) == 0 {
		return nil, nil
	}
	return r, nil
}

// apply returns data without the values of r's fields. A text, number or
// boolean becomes Redacted, a list a list of one Redacted, an object an empty
// one, so that a reader still finds the type it expects where it matters.
func (r *Redactor) apply(data []byte) ([]byte, error) {
	if r == nil {
		return data, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	r.walk(doc)
	return json.Marshal(doc)
}

func (r *Redactor) walk(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if r.fields[name] {
				v[name] = blank(value)
			} else {
				r.walk(value)
			}
		}
	case []any:
		for _, value := range v {
			r.walk(value)
		}
	}
}

func blank(v any) any {
	switch v.(type) {
	case nil:
		return nil
	case []any:
		return []any{Redacted}
	case map[string]any:
		return map[string]any{}
	}
	return Redacted
}

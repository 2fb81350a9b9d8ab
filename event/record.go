package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// A Record is a line of a journal, taken apart but not verified.
type Record struct {
	Link
	KID       string
	Alg       Alg
	Signature []byte
	// Digest is computed from the signed bytes.
	Digest Digest

	ID      string
	Source  string
	Subject string
	Type    string // of the event, also in a wrapped record
	Time    time.Time
	Data    json.RawMessage // canonical

	signed []byte
}

// ParseRecord takes a line apart. The line need not be in canonical form,
// because the signature is over the form that the record would have; what has
// no canonical form is an error with the fault FaultMalformed.
func ParseRecord(line []byte) (*Record, error) {
	if len(line) > MaxRecord {
		return nil, malformed("longer than %d bytes", MaxRecord)
	}
	c := canonicalizer{src: line, out: make([]byte, 0, len(line))}
	if err := c.document(); err != nil {
		return nil, malformed("%v", err)
	}
	if c.out[0] != '{' {
		return nil, malformed("not a JSON object")
	}
	return parseCanonical(c.out)
}

func parseCanonical(doc []byte) (*Record, error) {
	r := new(Record)
	attrs, err := r.attributes(doc)
	if err != nil {
		return nil, err
	}
	if r.Type == EnvelopeType {
		err = r.unwrap(attrs)
	} else {
		err = r.flat(doc, attrs)
	}
	if err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	r.Digest = sha256.Sum256(r.signed)
	return r, nil
}

// chainText holds the members that place a record, before they are checked.
type chainText struct {
	alg, chain, kid, prev, seq, sig field
	// sigStart and sigEnd are the range of the signature's member.
	sigStart, sigEnd int
}

type field struct {
	text string
	set  bool
}

func (f *field) read(name string, value []byte) error {
	if value[0] != '"' {
		return malformed("%s is not a string", name)
	}
	f.text, f.set = unescape(value), true
	return nil
}

// attributes reads the CloudEvents attributes of doc into r, and returns the
// extension attributes of a flat record.
func (r *Record) attributes(doc []byte) (chain chainText, err error) {
	var specVersion, at, contentType field
	var id, source, subject, typ field
	eachMember(doc, func(name, value []byte, start, end int) bool {
		var dst *field
		switch string(name) {
		case "specversion":
			dst = &specVersion
		case "id":
			dst = &id
		case "source":
			dst = &source
		case "subject":
			dst = &subject
		case "type":
			dst = &typ
		case "time":
			dst = &at
		case "datacontenttype":
			dst = &contentType
		case "cellosalg":
			dst = &chain.alg
		case "celloschain":
			dst = &chain.chain
		case "celloskid":
			dst = &chain.kid
		case "cellosprev":
			dst = &chain.prev
		case "cellosseq":
			dst = &chain.seq
		case "cellossig":
			dst = &chain.sig
			chain.sigStart, chain.sigEnd = start, end
		case "data":
			if value[0] != '{' {
				err = malformed("data is not an object")
				return false
			}
			r.Data = value
			return true
		default:
			return true
		}
		err = dst.read(string(name), value)
		return err == nil
	})
	if err != nil {
		return chain, err
	}
	if specVersion.text != "1.0" || id.text == "" || source.text == "" || typ.text == "" || r.Data == nil {
		return chain, malformed("not a CloudEvent 1.0 with id, source, type and data")
	}
	if contentType.text != "application/json" {
		return chain, malformed("datacontenttype %.40q, want application/json", contentType.text)
	}
	r.ID, r.Source, r.Subject, r.Type = id.text, source.text, subject.text, typ.text
	if r.Time, err = time.Parse(time.RFC3339Nano, at.text); err != nil {
		return chain, malformed("time %.40q is not RFC 3339", at.text)
	}
	return chain, nil
}

func (r *Record) flat(doc []byte, chain chainText) error {
	seq, err := strconv.ParseUint(chain.seq.text, 10, 53)
	if err != nil || strconv.FormatUint(seq, 10) != chain.seq.text {
		return malformed("cellosseq %.40q is not a decimal number below 2^53", chain.seq.text)
	}
	r.Seq = seq
	r.signed = doc
	if chain.sig.set {
		r.signed = without(doc, chain.sigStart, chain.sigEnd)
	}
	return r.place(chain)
}

// unwrap reads the event in the data of a wrapped record.
func (r *Record) unwrap(outer chainText) error {
	if outer.chain.set || outer.sig.set || outer.kid.set || outer.alg.set || outer.prev.set || outer.seq.set {
		return malformed("both flat and wrapped")
	}
	envelope := r.Data
	var chain chainText
	var event []byte
	var err error
	eachMember(envelope, func(name, value []byte, start, end int) bool {
		var dst *field
		switch string(name) {
		case "alg":
			dst = &chain.alg
		case "chainId":
			dst = &chain.chain
		case "signerKid":
			dst = &chain.kid
		case "prevDigest":
			dst = &chain.prev
		case "signature":
			dst = &chain.sig
			chain.sigStart, chain.sigEnd = start, end
		case "chainSeq":
			if r.Seq, err = strconv.ParseUint(string(value), 10, 53); err != nil {
				err = malformed("chainSeq %.40q is not a number below 2^53", value)
				return false
			}
			chain.seq.set = true
			return true
		case "event":
			event = value
			return true
		default:
			err = malformed("unknown member %.40q beside the event", name)
			return false
		}
		err = dst.read(string(name), value)
		return err == nil
	})
	if err != nil {
		return err
	}
	if !chain.seq.set || event == nil || event[0] != '{' {
		return malformed("an envelope without event or chainSeq")
	}
	inner := &Record{Link: r.Link}
	if rest, err := inner.attributes(event); err != nil {
		return err
	} else if rest != (chainText{}) {
		return malformed("the event in an envelope has a chain of its own")
	}
	// What the signature does not cover must not be able to differ from it.
	if inner.ID != r.ID || inner.Source != r.Source || inner.Subject != r.Subject || !inner.Time.Equal(r.Time) {
		return &Fault{Class: FaultEnvelope, Detail: "the envelope's id, source, subject or time is not that of its event"}
	}
	inner.signed = envelope
	if chain.sig.set {
		inner.signed = without(envelope, chain.sigStart, chain.sigEnd)
	}
	*r = *inner
	return r.place(chain)
}

// place checks and takes over what both envelopes have.
func (r *Record) place(chain chainText) error {
	if chain.chain.text == "" {
		return malformed("no chain id")
	}
	r.Chain = chain.chain.text
	var err error
	if r.Prev, err = ParseDigest(chain.prev.text); err != nil {
		return malformed("previous digest: %v", err)
	}
	r.Alg, r.KID = Alg(chain.alg.text), chain.kid.text
	if chain.sig.set {
		r.Signature, err = base64.RawURLEncoding.Strict().DecodeString(chain.sig.text)
		if err != nil {
			return malformed("the signature is not base64url")
		}
	}
	return nil
}

// check refuses combinations that no writer makes.
func (r *Record) check() error {
	switch r.Alg {
	case None:
		if r.KID != "" || r.Signature != nil {
			return malformed("algorithm none, yet a key id or a signature")
		}
	case Ed25519, HMAC:
		if r.KID == "" {
			return malformed("signed, but no key id")
		}
	default:
		return malformed("unknown algorithm %.40q", r.Alg)
	}
	return nil
}

// without returns doc without the member at [start,end) and its comma.
func without(doc []byte, start, end int) []byte {
	switch {
	case doc[start-1] == ',':
		start--
	case doc[end] == ',':
		end++
	}
	out := make([]byte, 0, len(doc)-(end-start))
	return append(append(out, doc[:start]...), doc[end:]...)
}

// Scope reads the ids that the data of r carries.
func (r *Record) Scope() Scope {
	var ids struct{ SpecID, CellID, RunID string }
	if json.Unmarshal(r.Data, &ids) != nil {
		return Scope{}
	}
	return Scope{SpecID: ids.SpecID, CellID: ids.CellID, RunID: ids.RunID}
}

// Decode reads the data of r into v, a pointer to the type of the event.
func (r *Record) Decode(v any) error {
	if err := json.NewDecoder(bytes.NewReader(r.Data)).Decode(v); err != nil {
		return fmt.Errorf("data of %s: %w", Suffix(r.Type), err)
	}
	return nil
}

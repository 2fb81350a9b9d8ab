package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// MaxRecord is the longest line of a journal, newline included. Readers refuse
// more, so writers do too.
const MaxRecord = 1 << 20

// ErrTooLarge is an event whose record would exceed MaxRecord.
var ErrTooLarge = errors.New("event too large")

// Envelope is the spelling of a record.
type Envelope int

// The two envelopes. Both carry the same event and the same chain.
const (
	Flat Envelope = iota
	Wrapped
)

// ParseEnvelope reads the value of CELLOS_EVENT_ENVELOPE.
func ParseEnvelope(s string) (Envelope, error) {
	switch s {
	case "", "flat":
		return Flat, nil
	case "wrapped":
		return Wrapped, nil
	}
	return Flat, fmt.Errorf("unknown envelope %.40q: want flat or wrapped", s)
}

// A Link is a place in a chain.
type Link struct {
	Chain string
	Seq   uint64
	Prev  Digest
}

// Next is the place after the record at l whose digest is d.
func (l Link) Next(d Digest) Link { return Link{Chain: l.Chain, Seq: l.Seq + 1, Prev: d} }

// An Encoder turns events into records. It reuses its buffers, so it is not
// safe for concurrent use.
type Encoder struct {
	Signer   Signer
	Envelope Envelope
	Redact   *Redactor // nil redacts nothing

	body []byte // what is signed
	data []byte
}

// Encode appends the record of ev at link and its newline to dst, and returns
// it with its digest. The order is redact, canonicalise, sign: what was
// redacted is not in the signed bytes either.
func (e *Encoder) Encode(dst []byte, ev *Event, link Link) ([]byte, Digest, error) {
	if err := e.encodeData(ev); err != nil {
		return dst, Digest{}, fmt.Errorf("encode %s: %w", ev.Data.EventType(), err)
	}
	start := len(dst)
	var digest Digest
	var err error
	if e.Envelope == Wrapped {
		dst, digest, err = e.wrapped(dst, ev, link)
	} else {
		dst, digest, err = e.flat(dst, ev, link)
	}
	if err != nil {
		return dst[:start], Digest{}, fmt.Errorf("sign %s: %w", ev.Data.EventType(), err)
	}
	dst = append(dst, '\n')
	if n := len(dst) - start; n > MaxRecord {
		return dst[:start], Digest{}, fmt.Errorf("encode %s: %w: %d bytes, at most %d", ev.Data.EventType(), ErrTooLarge, n, MaxRecord)
	}
	return dst, digest, nil
}

// encodeData leaves the canonical data of ev, scope included, in e.data.
func (e *Encoder) encodeData(ev *Event) error {
	payload, err := json.Marshal(ev.Data)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(payload, []byte{'{'}) {
		return errors.New("data is not a JSON object")
	}
	joined := make([]byte, 0, len(payload)+160)
	joined = append(joined, '{')
	for _, id := range [...]struct{ name, value string }{
		{"cellId", ev.Scope.CellID}, {"runId", ev.Scope.RunID}, {"specId", ev.Scope.SpecID},
	} {
		if id.value != "" {
			joined = append(append(append(joined, '"'), id.name...), `":`...)
			joined = append(appendText(joined, id.value), ',')
		}
	}
	if len(payload) == 2 {
		joined = bytes.TrimSuffix(joined, []byte{','})
	}
	joined = append(joined, payload[1:]...)
	if joined, err = e.Redact.apply(joined); err != nil {
		return err
	}
	c := canonicalizer{src: joined, out: e.data[:0], exact: true}
	if err := c.document(); err != nil {
		return err
	}
	e.data = c.out
	return nil
}

func (e *Encoder) flat(dst []byte, ev *Event, link Link) ([]byte, Digest, error) {
	b := append(e.body[:0], `{"cellosalg":"`...)
	b = append(b, e.Signer.Alg()...)
	b = append(b, `","celloschain":`...)
	b = appendText(b, link.Chain)
	if kid := e.Signer.KID(); kid != "" {
		b = append(b, `,"celloskid":`...)
		b = appendText(b, kid)
	}
	b = append(b, `,"cellosprev":"`...)
	b = hex.AppendEncode(b, link.Prev[:])
	b = append(b, `","cellosseq":"`...)
	b = strconv.AppendUint(b, link.Seq, 10)
	b = append(b, '"')
	sigAt := len(b)
	b = append(b, ',')
	b = e.appendAttributes(b, ev, ev.Data.EventType(), e.data)
	b = append(b, '}')
	e.body = b

	signature, err := e.Signer.Sign(b)
	if err != nil {
		return dst, Digest{}, err
	}
	dst = append(dst, b[:sigAt]...)
	if signature != nil {
		dst = append(dst, `,"cellossig":"`...)
		dst = base64.RawURLEncoding.AppendEncode(dst, signature)
		dst = append(dst, '"')
	}
	return append(dst, b[sigAt:]...), sha256.Sum256(b), nil
}

func (e *Encoder) wrapped(dst []byte, ev *Event, link Link) ([]byte, Digest, error) {
	b := append(e.body[:0], `{"alg":"`...)
	b = append(b, e.Signer.Alg()...)
	b = append(b, `","chainId":`...)
	b = appendText(b, link.Chain)
	b = append(b, `,"chainSeq":`...)
	b = strconv.AppendUint(b, link.Seq, 10)
	b = append(b, `,"event":{`...)
	b = e.appendAttributes(b, ev, ev.Data.EventType(), e.data)
	b = append(b, `},"prevDigest":"`...)
	b = hex.AppendEncode(b, link.Prev[:])
	b = append(b, '"')
	sigAt := len(b)
	if kid := e.Signer.KID(); kid != "" {
		b = append(b, `,"signerKid":`...)
		b = appendText(b, kid)
	}
	b = append(b, '}')
	e.body = b

	signature, err := e.Signer.Sign(b)
	if err != nil {
		return dst, Digest{}, err
	}
	data := append([]byte(nil), b[:sigAt]...)
	if signature != nil {
		data = append(data, `,"signature":"`...)
		data = base64.RawURLEncoding.AppendEncode(data, signature)
		data = append(data, '"')
	}
	data = append(data, b[sigAt:]...)
	dst = append(dst, '{')
	dst = e.appendAttributes(dst, ev, EnvelopeType, data)
	return append(dst, '}'), sha256.Sum256(b), nil
}

// appendAttributes appends the members of a CloudEvent from data to type.
// Their names are in canonical order, and so are the extension attributes
// before them.
func (e *Encoder) appendAttributes(b []byte, ev *Event, eventType string, data []byte) []byte {
	b = append(b, `"data":`...)
	b = append(b, data...)
	b = append(b, `,"datacontenttype":"application/json","dataschema":`...)
	b = appendText(b, DataSchema(eventType))
	b = append(b, `,"id":`...)
	b = appendText(b, ev.ID)
	b = append(b, `,"source":`...)
	b = appendText(b, ev.Source)
	b = append(b, `,"specversion":"1.0"`...)
	if ev.Subject != "" {
		b = append(b, `,"subject":`...)
		b = appendText(b, ev.Subject)
	}
	b = append(b, `,"time":"`...)
	b = ev.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","type":`...)
	return appendText(b, eventType)
}

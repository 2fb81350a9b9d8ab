// Package event is the audit trail of a cell as values: the event types, how
// a record is spelled and signed, and how a trail is verified. It does no I/O;
// package journal puts records into files.
//
// # A record
//
// A record is one CloudEvents 1.0 event in structured JSON mode on one line,
// in the canonical form of RFC 8785 (JCS). Five extension attributes make it a
// link of a chain, a sixth signs it:
//
//	cellosalg    ed25519, hmac-sha256 or none
//	celloschain  the run id, or host-<uuid> for the chain of a host
//	celloskid    the key that signed; absent if cellosalg is none
//	cellosprev   digest of the record before, 64 zeros for the first
//	cellosseq    position in the chain from 0, a decimal string
//	cellossig    signature, base64url without padding
//
// The signed bytes are the canonical form of the record without cellossig.
// The digest of a record is the SHA-256 of exactly those bytes: whoever needs
// it computes it, it is not written beside the record that it describes.
//
// In a wrapped record the CloudEvent has the type EnvelopeType and its data is
// {alg, chainId, chainSeq, event, prevDigest, signature, signerKid}; the
// signed bytes are the canonical form of data without signature. The outer
// attributes are not signed and must repeat those of the event inside.
//
// testdata/specimen.jsonl is a whole run in both spellings, with the keys file
// specimen-keys.json; the secret is the seed of RFC 8032 section 7.1, test 1.
//
// To verify by hand: remove the member "cellossig":"…" and its comma from the
// line, and check the signature over what is left.
//
// # A chain
//
// Every run has a chain of its own, so concurrent supervisors never wait for
// each other. A chain has one key; only at a record of type AuditRecovered may
// it change, because whoever finishes a run after a crash may hold another key
// than the one that began it. EvidenceBundle ends the chain of a run. The
// chain of the host says which runs there were (RunOpened) and where each one
// ended (RunSealed), so a missing run or a cut tail shows.
//
// References: CloudEvents 1.0.2, RFC 8785 (JCS), RFC 8032 (Ed25519), RFC 2104
// (HMAC), RFC 9562 (UUIDv7), RFC 7638 and RFC 8037 (key thumbprints).
package event

// Package journal keeps the audit trail of a host: crash-safe files of signed
// records. It gives the chain of a run, the chain of the host, recovery after
// a crash, and the keys they are signed with. What a record means is package
// event's; when one is due is the supervisor's.
//
// Below the state directory:
//
//	journal/host.jsonl          the chain of the host, shared by all supervisors
//	journal/runs/RUN.jsonl      the chain of a run, written by its supervisor
//	journal/open/RUN            its runtime directory; there while the run is not sealed
//	journal/…jsonl.torn-HASH    a tail that a crash left behind
//	keys/KID.key, KID.pub.json  what records are signed and verified with
//
// # A run
//
//	open/RUN ─ runs/RUN.jsonl, space reserved ─ host: run_opened     OpenRun
//	   │
//	Emit: redact, sign, one write(2), then the mirrors
//	Sync: fdatasync                              before the workload, at the end
//	   │
//	surplus space freed ─ fdatasync ─ host: run_sealed ─ open/RUN removed   Seal
//
// A kill between any two steps leaves open/RUN, by which Orphans finds the run
// and ResumeRun finishes it, however often that is killed itself.
//
// # What holds
//
// When Emit returns, the record survives the death of the process; after Sync,
// that of the host, as far as its disk keeps its promises. A record is either
// whole or absent: a short write is taken back under the lock. ClosingReserve
// bytes are set aside before anything of a run exists, so the records that end
// it fit on a full disk. A file system without fallocate(2) gets a file of
// zeros instead, removed when the closing begins.
//
// The reserve is not a promise on copy-on-write file systems (btrfs, ZFS),
// where even an allocated block may need a new one, nor against a quota that
// shrinks.
package journal

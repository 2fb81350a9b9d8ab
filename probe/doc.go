// Package probe finds out what this host can do for a cell.
//
// An [Ability] is one thing that a cell rests on, such as a user namespace of
// its own or a system call filter. A probe tries the thing itself, in a
// process that is made for it and has a deadline, and infers nothing from
// versions. It changes nothing that it cannot take back, and when it returns
// nothing of it is left. There are three answers:
//
//	works        it was done, just now
//	unsupported  it was refused: Detail says what by, Remedy what to do
//	unknown      no way to tell: counts as not enforced, and is never cached
//
// Some probes are a few system calls of the calling process ([Quick]); a run
// may afford them at its start. The others start processes: this binary again,
// under another name, which the package's init function notices.
//
// What follows from the answers, for the isolation report and for whoever is
// to fix the host, is decided by pure functions on them.
package probe

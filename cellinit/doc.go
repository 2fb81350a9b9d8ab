// Package cellinit is PID 1 of a cell and the protocol that it speaks.
//
// The supervisor executes its own binary again under the name [Arg0], in the
// cell's namespaces. This package's init function notices that name and takes
// over before the rest of the program is initialised; it never returns:
//
//	supervisor ── clone(namespaces, pidfd) ─▶ PID 1 ── fork, exec ─▶ workload
//	    │                                      │
//	    └── control socket, descriptor 3 ──────┘  descriptor 4: a lock
//	                                              5 and more: held likewise
//	                                              0, 1, 2: for the workload
//
// PID 1 decides nothing. It makes the system calls that it is sent as data,
// starts one program, reaps whatever is left to it, and ends the cell by
// dying, which kills everything in the pid namespace (pid_namespaces(7)). It
// dies at the first of: the supervisor's word, the end of the control socket,
// the death of the thread that cloned it, the deadline it was given.
//
// # Protocol
//
// The control socket is a Unix SOCK_SEQPACKET pair. A packet is a header of
// four bytes and at most [PacketMax] bytes in all:
//
//	version (1) | kind | 1 if more packets of this message follow | 0
//
// A message is the payloads of its packets, at most [MessageMax] bytes.
// Integers are little endian; a string is its length in 32 bits and its
// bytes; a list is the number of its items in 32 bits and the items.
//
//	supervisor                       PID 1
//	  files   descriptors      ─▶     kept for the steps
//	  setup   steps            ─▶     runs them in order; again until start
//	                           ◀─     ready, or failed: step, errno
//	  sockets kinds            ─▶     socket(2) for each, in the cell
//	                           ◀─     sockets: errno, descriptors attached
//	  start   program          ─▶     fork, exec
//	                           ◀─     started: pid, or failed: stage, errno
//	  signal  number           ─▶     the workload gets it
//	                           ◀─     exited: status, usage
//	  exit                     ─▶     dies, and the cell with it
//
// Sockets are plain: the supervisor sets their options, binds and connects
// them with its own authority over the cell's network namespace, so PID 1 and
// the workload need none.
//
// The package imports nothing but syscall, because Go initialises a package
// as soon as its imports are, in the order of import paths: whatever else the
// binary links, PID 1 starts before it.
package cellinit

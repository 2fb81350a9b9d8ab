// Package native isolates a cell with the kernel of the host: namespaces, a
// file view of its own, ids of its own, a system call filter, Landlock and
// cgroups. What a cell has is in its plan; this package tells the kernel.
//
// As root every cell has a block of 65,536 host ids: nothing in it is a user
// of the host, and no two cells share one. Without root the caller's own id is
// the cell's user, and there is no other.
//
//	              root                                rootless
//	ids           a block, locked for PID 1's life    the caller's
//	PID 1         the block's last id                 the cell's user
//	mounts        detached and id-mapped by the       opened by PID 1 in its own
//	              supervisor, attached by PID 1       mount namespace, compared
//	workload      run.user                            run.user
//
// PID 1 is package cellinit, cloned and spoken with by package nsproc: a
// program that imports this package can be executed as one.
package native

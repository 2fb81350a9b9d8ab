package native

import "golang.org/x/sys/unix"

// auditArch is the only ABI that a workload may use: the numbers of another
// mean other system calls.
const auditArch = unix.AUDIT_ARCH_AARCH64

// allowedHere are the system calls that amd64 has under another name.
var allowedHere = []uint32{unix.SYS_FSTATAT}

func checkedHere() map[uint32]action { return nil }

package egress

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Errno is the name of the error number that an error of a [Flow] comes down
// to, such as ECONNREFUSED, and empty for none.
func Errno(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "ETIMEDOUT"
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return "ECANCELED" // the cell ended first
	}
	return "EHOSTUNREACH" // there is no address to dial
}

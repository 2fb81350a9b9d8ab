// Package egresstest builds, for tests, the three networks that egress is
// about, each a network namespace of its own:
//
//	cell ── nothing but lo        host ── veth ── outside
//
// The tests themselves run in the host's, which is not that of the machine:
// [Main] starts the test binary again in a fresh one. The cell is a process
// that makes sockets and hands them over, as PID 1 does. The outside has the
// addresses of servers.
//
// A package whose TestMain is Main is tested twice by root: the second time as
// an ordinary user.
package egresstest

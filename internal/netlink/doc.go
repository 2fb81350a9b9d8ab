// Package netlink speaks the netlink protocol (netlink(7), RFC 3549): it lays
// out messages and attributes, sends them and reads what the kernel answers.
// What the messages mean is its callers' business.
//
// A socket may belong to another network namespace than the process: it stays
// in the one in which it was made.
package netlink

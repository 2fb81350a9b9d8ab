// Package relay carries the TCP connections of a cell to where the document
// lets them lead.
//
// The firewall of the cell (package guard) hands over connections to anywhere
// unchanged: the local address of an accepted one is the destination that the
// workload asked for. The relay asks the plan again what that address stands
// for, resolves the name itself, leaves out addresses into which a name may
// not lead, dials from the host's network and moves the bytes. The workload
// chooses a name that it is allowed, never an address.
//
// The relay accepts before it dials. A dial that fails is an RST for the
// client, never the end of an empty stream. Every decision is recorded before
// it takes effect, and every connection when it ends.
//
// What is in the bytes is not looked at.
package relay

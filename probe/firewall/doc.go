// Package firewall tries on this host what a cell's network rests on: the
// firewall of package egress/guard and what the relay needs of the kernel.
//
// It loads the rules of a small document into a network namespace of its own,
// has them read back and compared, and then connects: to an address that is
// not declared, which has to be refused, counted and logged, and to one that
// is, which has to arrive at a transparent listener.
package firewall

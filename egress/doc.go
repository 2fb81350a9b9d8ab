// Package egress is the network of a cell: its namespace, its firewall, its
// way out and the account of what was refused.
//
//	workload ── connect ─▶ firewall ── declared ─▶ relay ── dial ─▶ the host's network
//	                           │                     │
//	                           └── refused: errno    └── name, resolved again by us
//
// The cell's network namespace holds lo and nothing else. Package guard makes
// every address local and loads the firewall that package plan has compiled;
// package relay takes the connections that it lets through, turns their
// destination back into a name and dials what that resolves to; package
// dnsproxy answers the queries. [Open] puts the first two together on sockets
// that the cell's PID 1 made, and provides the sockets for the third.
//
// [Names] is what they share: which address stands for which name. Those of
// exact names are in the plan, those of names under a wildcard are given out
// when they are first resolved.
package egress

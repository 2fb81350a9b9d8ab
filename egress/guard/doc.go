// Package guard makes the network namespace of a cell refuse what the plan
// does not allow.
//
// The namespace has no link but lo. [Configure] gives that the cell's own
// addresses and a local default route, so that every destination is "local":
// a packet for anywhere comes back in, where the firewall hands it to the
// relay. [Load] puts the firewall in place in one transaction, reads it back
// and compares. Whatever goes wrong, nothing leads out: losing the rules is
// losing the way to the relay.
//
// A refusal costs no round trip to the supervisor. The kernel answers with an
// error at connect(2) or send(2), adds to a counter and sends the head of the
// packet to NFLOG, from where [Refusals] reads it. The counter is the truth,
// the log is the detail: what the log lacks is reported as a number.
//
// Sockets are made in the namespace by the cell's PID 1 and used by the
// supervisor, who has authority over the namespace because it made the user
// namespace that owns it. So none of this needs privileges on the host, and
// neither PID 1 nor the workload gains any.
//
// Sources: the kernel's include/uapi/linux/{rtnetlink,netfilter/nf_tables,
// netfilter/nfnetlink_log}.h, and what nft(8) sends for the same rules.
package guard

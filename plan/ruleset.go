package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// A Ruleset is the firewall of a cell's network namespace, as data: one table
// of nftables (nft(8)). Package egress translates it for the kernel.
type Ruleset struct {
	Table  string
	Sets   []Set
	Chains []Chain
}

// A Set holds destinations: address, protocol and port.
type Set struct {
	Name     string
	V6       bool
	Elements []Element
}

// An Element is a range of addresses with one protocol and port.
type Element struct {
	First, Last netip.Addr
	Protocol    Transport
	Port        uint16
}

// A Chain is a list of rules. One with a Hook sees every packet there.
type Chain struct {
	Name     string
	Hook     Hook // empty: entered by a Goto
	Priority int
	Rules    []Rule
}

// Hook is where in the kernel a chain is entered. What no rule of it decides
// is dropped.
type Hook string

// The hooks in use.
const (
	HookOutput     Hook = "output"
	HookPrerouting Hook = "prerouting"
)

// A Rule is statements that are executed one after the other, until a match
// that fails or a verdict.
type Rule []Statement

// A Statement is one of the types below.
type Statement interface {
	// text is the statement in the syntax of nft(8).
	text() string
}

type (
	// Match compares the source or destination address with a prefix.
	Match struct {
		Source bool
		Prefix netip.Prefix
		Not    bool
	}
	// In looks the destination up in a set.
	In struct {
		Set string
		V6  bool
	}
	// IsTransport compares the protocol.
	IsTransport struct{ Protocol Transport }
	// Established matches TCP segments that do not open a connection.
	Established struct{}
	// ToPort compares the destination port of TCP or UDP.
	ToPort struct{ Port uint16 }
	// Count adds the packet to a named counter.
	Count struct{ Counter string }
	// Limit matches no more than so many packets a second.
	Limit struct{ Rate, Burst uint32 }
	// Log sends the head of the packet to a group of NFLOG.
	Log struct {
		Group uint16
		Bytes uint32
	}
	// Accept ends the judgement.
	Accept struct{}
	// Goto continues in another chain for good.
	Goto struct{ Chain string }
	// Reset refuses a TCP connection with RST.
	Reset struct{}
	// Redirect hands a TCP connection to a transparent listener.
	Redirect struct{ To netip.AddrPort }
)

func family(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func (m Match) text() string {
	side, op := "daddr", ""
	if m.Source {
		side = "saddr"
	}
	if m.Not {
		op = "!= "
	}
	return fmt.Sprintf("%s %s %s%s", family(m.Prefix.Addr().Is6()), side, op, prefixText(m.Prefix))
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (s In) text() string {
	return family(s.V6) + " daddr . meta l4proto . th dport @" + s.Set
}
func (s IsTransport) text() string { return "meta l4proto " + s.Protocol.String() }
func (Established) text() string   { return "tcp flags & (syn | rst | ack) != syn" }
func (s ToPort) text() string      { return fmt.Sprintf("th dport %d", s.Port) }
func (s Count) text() string       { return fmt.Sprintf("counter name %q", s.Counter) }
func (s Limit) text() string {
	return fmt.Sprintf("limit rate %d/second burst %d packets", s.Rate, s.Burst)
}
func (s Log) text() string {
	return fmt.Sprintf("log group %d snaplen %d queue-threshold 1", s.Group, s.Bytes)
}
func (Accept) text() string { return "accept" }
func (s Goto) text() string { return "goto " + s.Chain }
func (Reset) text() string  { return "reject with tcp reset" }
func (s Redirect) text() string {
	return fmt.Sprintf("tproxy %s to %s", family(s.To.Addr().Is6()), s.To)
}

// Text is the ruleset in the syntax of nft(8), always the same for the same
// rules.
func (rs Ruleset) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tcounter %s {\n\t}\n", rs.Table, CounterRefused)
	for _, s := range rs.Sets {
		s.write(&b)
	}
	for _, c := range rs.Chains {
		fmt.Fprintf(&b, "\n\tchain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "\t\ttype filter hook %s priority %d; policy drop;\n", c.Hook, c.Priority)
		}
		for _, r := range c.Rules {
			b.WriteString("\t\t")
			for i, s := range r {
				if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(s.text())
			}
			b.WriteByte('\n')
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (s Set) write(b *strings.Builder) {
	kind := "ipv4_addr"
	if s.V6 {
		kind = "ipv6_addr"
	}
	fmt.Fprintf(b, "\n\tset %s {\n\t\ttype %s . inet_proto . inet_service\n\t\tflags constant,interval\n", s.Name, kind)
	if len(s.Elements) > 0 {
		b.WriteString("\t\telements = {\n")
		for _, e := range s.Elements {
			fmt.Fprintf(b, "\t\t\t%s . %s . %d,\n", spanText(e.First, e.Last), e.Protocol, e.Port)
		}
		b.WriteString("\t\t}\n")
	}
	b.WriteString("\t}\n")
}

func spanText(first, last netip.Addr) string {
	if first == last {
		return first.String()
	}
	for bits := range first.BitLen() {
		if p := netip.PrefixFrom(first, bits); p.Masked() == p && lastOf(p) == last {
			return p.String()
		}
	}
	return first.String() + "-" + last.String()
}

// Digest is the SHA-256 of Text, in hexadecimal.
func (rs Ruleset) Digest() string {
	sum := sha256.Sum256([]byte(rs.Text()))
	return hex.EncodeToString(sum[:])
}

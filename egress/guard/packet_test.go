package guard

import (
	"net/netip"
	"testing"
)

// packets are heads as the firewall logs them.
func packets() map[string][]byte {
	v4 := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 1, 203, 0, 113, 10, 0x80, 1, 0x01, 0xbb, 0, 0, 0, 0}
	fragment := append([]byte(nil), v4...)
	fragment[7] = 8
	options := append([]byte{0x46}, v4[1:20]...)
	options = append(append(options, 1, 1, 1, 1), v4[20:]...)
	v6 := append([]byte{0x60, 0, 0, 0, 0, 8, 17, 64}, netip.MustParseAddr("fd63:656c:6c6f::1").AsSlice()...)
	v6 = append(append(v6, netip.MustParseAddr("2001:db8::10").AsSlice()...), 0x80, 1, 0x11, 0x51, 0, 8, 0, 0)
	extended := append([]byte(nil), v6[:40]...)
	extended[6] = extDestination
	extended = append(append(extended, 17, 0, 1, 4, 0, 0, 0, 0), v6[40:]...)
	icmp := append([]byte(nil), v4...)
	icmp[9] = 1
	return map[string][]byte{"v4": v4, "fragment": fragment, "options": options, "v6": v6, "extended": extended, "icmp": icmp}
}

func TestParsePacket(t *testing.T) {
	p := netip.MustParseAddrPort
	for name, want := range map[string]Refusal{
		"v4":       {6, p("198.18.0.1:32769"), p("203.0.113.10:443")},
		"fragment": {6, p("198.18.0.1:0"), p("203.0.113.10:0")},
		"options":  {6, p("198.18.0.1:32769"), p("203.0.113.10:443")},
		"v6":       {17, p("[fd63:656c:6c6f::1]:32769"), p("[2001:db8::10]:4433")},
		"extended": {17, p("[fd63:656c:6c6f::1]:32769"), p("[2001:db8::10]:4433")},
		"icmp":     {1, p("198.18.0.1:0"), p("203.0.113.10:0")},
	} {
		packet := packets()[name]
		if got, ok := parsePacket(packet); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, want)
		}
		for n := range packet {
			parsePacket(packet[:n]) // does not panic
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, p := range packets() {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parsePacket(b)
		if ok && (!r.Src.IsValid() || !r.Dst.IsValid()) {
			t.Errorf("addresses %v, %v", r.Src, r.Dst)
		}
	})
}

package cellinit

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// assemble sends a message through packets.
func assemble(t *testing.T, kind Kind, payload []byte) []byte {
	t.Helper()
	var a Assembler
	packets := Packets(kind, payload)
	for i, p := range packets {
		if len(p) > PacketMax {
			t.Fatalf("a packet of %d bytes", len(p))
		}
		k, got, done, err := a.Add(p)
		if err != nil || done != (i == len(packets)-1) {
			t.Fatalf("packet %d of %d: done %v, %v", i, len(packets), done, err)
		}
		if done {
			if k != kind {
				t.Fatalf("kind %d, want %d", k, kind)
			}
			return got
		}
	}
	t.Fatal("no message")
	return nil
}

func TestPackets(t *testing.T) {
	for _, size := range []int{0, 1, PacketMax - headerSize, PacketMax - headerSize + 1, 100 << 10, MessageMax} {
		payload := bytes.Repeat([]byte{7}, size)
		if got := assemble(t, KindStart, payload); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes became %d", size, len(got))
		}
	}
	if Packets(KindStart, make([]byte, MessageMax+1)) != nil {
		t.Error("a message above the maximum was cut into packets")
	}
}

func TestAssemblerRefuses(t *testing.T) {
	full := append([]byte{version, byte(KindStart), 1, 0}, make([]byte, PacketMax-headerSize)...)
	for name, packets := range map[string][][]byte{
		"empty":             {{}},
		"short header":      {{version, byte(KindReady), 0}},
		"version":           {{version + 1, byte(KindReady), 0, 0}},
		"kind 0":            {{version, 0, 0, 0}},
		"kind after last":   {{version, byte(KindExit) + 1, 0, 0}},
		"flag":              {{version, byte(KindReady), 2, 0}},
		"reserved":          {{version, byte(KindReady), 0, 1}},
		"too long":          {make([]byte, PacketMax+1)},
		"kinds mixed":       {full, {version, byte(KindExit), 0, 0}},
		"more, but nothing": {{version, byte(KindStart), 1, 0}},
	} {
		var a Assembler
		var err error
		for _, p := range packets {
			_, _, _, err = a.Add(p)
		}
		if err != ErrFrame {
			t.Errorf("%s: got %v", name, err)
		}
	}
	var a Assembler
	for sent := 0; ; sent += len(full) {
		if _, _, _, err := a.Add(full); err != nil {
			break
		}
		if sent > MessageMax+PacketMax {
			t.Fatal("an endless message was taken")
		}
	}
}

func TestMessages(t *testing.T) {
	steps := []Step{
		{Op: OpIDMap, Source: "0 0 1\n", Data: "5 5 1\n"},
		{Op: OpMount, Target: "/proc", Source: "proc", Type: "proc", Data: "hidepid=2", Flags: 1<<63 | 14},
		{Op: OpHostname, Target: "cell"},
		{Op: OpBind, Target: "usr", Source: "/usr", Flags: 3, Mode: 0o755, File: 7, Device: 1 << 40, Inode: 9},
	}
	if got, err := DecodeSetup(EncodeSetup(steps)); err != nil || !reflect.DeepEqual(got, steps) {
		t.Errorf("steps: %v, %v", got, err)
	}
	program := Program{
		Argv: []string{"a", "", "b\x00c"}, Env: []string{"K=V"}, Dir: "/", Search: []string{"/bin"},
		Limits: []Limit{{7, 1 << 40}}, Deadline: 1 << 60, DropCapabilities: true,
		User: &User{1000, 100}, NullInput: true, Seccomp: "\x06\x00",
		Landlock: Landlock{Files: 3, Scoped: 1, Rules: []LandlockRule{{"/tmp", 2}}},
	}
	if got, err := DecodeProgram(EncodeProgram(program)); err != nil || !reflect.DeepEqual(got, program) {
		t.Errorf("program: %+v, %v", got, err)
	}
	kinds := []SocketKind{UDP4, TCP6}
	if got, err := DecodeSockets(EncodeSockets(kinds)); err != nil || !reflect.DeepEqual(got, kinds) {
		t.Errorf("sockets: %v, %v", got, err)
	}
	exited := Exited{Status: 7 << 8, CPUMicros: 1 << 40, MaxRSSBytes: 1 << 33, InitCPUMicros: 9}
	if got, err := DecodeExited(EncodeExited(exited)); err != nil || got != exited {
		t.Errorf("exited: %+v, %v", got, err)
	}
	failure := Failure{3, 13}
	if got, err := DecodeFailure(EncodeFailure(failure)); err != nil || got != failure {
		t.Errorf("failure: %+v, %v", got, err)
	}
}

// decodeAny decodes a payload as what its kind says.
func decodeAny(kind Kind, payload []byte) (again []byte, err error) {
	switch kind {
	case KindSetup:
		v, err := DecodeSetup(payload)
		return EncodeSetup(v), err
	case KindStart:
		v, err := DecodeProgram(payload)
		return EncodeProgram(v), err
	case KindSockets:
		v, err := DecodeSockets(payload)
		return EncodeSockets(v), err
	case KindExited:
		v, err := DecodeExited(payload)
		return EncodeExited(v), err
	case KindFailed:
		v, err := DecodeFailure(payload)
		return EncodeFailure(v), err
	default:
		v, err := DecodeNumber(payload)
		return EncodeNumber(v), err
	}
}

func TestDecodersRefuse(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff}
	for name, test := range map[string]struct {
		kind    Kind
		payload []byte
	}{
		"steps without bytes":    {KindSetup, huge},
		"an unknown step":        {KindSetup, EncodeSetup([]Step{{Op: opLast + 1}})},
		"arguments without any":  {KindStart, huge},
		"no arguments":           {KindStart, EncodeProgram(Program{})},
		"a negative deadline":    {KindStart, EncodeProgram(Program{Argv: []string{"a"}, Deadline: -1})},
		"too many sockets":       {KindSockets, EncodeSockets(make([]SocketKind, SocketsMax+1))},
		"no sockets":             {KindSockets, EncodeSockets(nil)},
		"an unknown socket":      {KindSockets, EncodeSockets([]SocketKind{NetlinkNetfilter + 1})},
		"bytes after the number": {KindSignal, append(EncodeNumber(1), 0)},
		"half a number":          {KindSignal, []byte{1, 0}},
	} {
		if _, err := decodeAny(test.kind, test.payload); err != ErrFrame {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzMessage decodes what another process may have sent. What is accepted
// has one encoding.
func FuzzMessage(f *testing.F) {
	f.Add(uint8(KindSetup), EncodeSetup([]Step{{Op: OpMount, Target: "/"}}))
	f.Add(uint8(KindStart), EncodeProgram(Program{Argv: []string{"sh"}, Limits: []Limit{{1, 1}}}))
	f.Add(uint8(KindSockets), EncodeSockets([]SocketKind{UDP4}))
	f.Add(uint8(KindExited), EncodeExited(Exited{Status: 9}))
	f.Add(uint8(KindFailed), []byte(strings.Repeat("\xff", 8)))
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte) {
		var a Assembler
		_, _, _, _ = a.Add(payload)
		again, err := decodeAny(Kind(kind), payload)
		if err == nil && !bytes.Equal(again, payload) {
			t.Errorf("%x became %x", payload, again)
		}
	})
}

package netlink

import (
	"bytes"
	"testing"
)

func TestMessages(t *testing.T) {
	var b Builder
	b.Message(1, flagAck, []byte{9})
	b.String(1, "lo")
	b.Nest(2, func() {
		b.U8(1, 7)
		b.BE16(2, 0x1234)
		b.BE32(3, 0x12345678)
		b.BE64(4, 1)
		b.U32(5, 5)
	})
	b.Message(2, 0, nil)
	b.Bytes(1, []byte("xyz"))
	raw, err := b.Messages()
	if err != nil {
		t.Fatal(err)
	}
	var got []Message
	for m, err := range Split(raw) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	if len(got) != 2 || got[0].Type != 1 || got[1].Type != 2 || got[1].Seq != 2 || b.last != 1 {
		t.Fatalf("messages %+v, last %d", got, b.last)
	}
	attrs := got[0].Data[4:]
	if s := Attr(attrs, 1); string(s) != "lo\x00" {
		t.Errorf("string %q", s)
	}
	inner := Attr(attrs, 2)
	if v := Attr(inner, 2); !bytes.Equal(v, []byte{0x12, 0x34}) {
		t.Errorf("number %x", v)
	}
	if v := Attr(inner, 4); len(v) != 8 || v[7] != 1 {
		t.Errorf("number %x", v)
	}
	if Attr(attrs, 3) != nil {
		t.Error("an attribute that is not there was found")
	}
}

func TestLongAttribute(t *testing.T) {
	var b Builder
	b.Message(1, flagAck, nil)
	b.Bytes(1, make([]byte, 1<<16))
	if _, err := b.Messages(); err == nil {
		t.Error("an attribute longer than its length can say was accepted")
	}
}

// Whatever comes, reading ends and stays within bounds.
func FuzzSplit(f *testing.F) {
	var b Builder
	b.Message(1, flagAck, []byte{1, 2, 3, 4})
	b.String(1, "x")
	raw, _ := b.Messages()
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for m, err := range Split(b) {
			if err != nil {
				break
			}
			for range Attrs(m.Data) {
				n++
			}
		}
		if n > len(b) {
			t.Errorf("%d attributes in %d bytes", n, len(b))
		}
	})
}

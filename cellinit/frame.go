package cellinit

// Arg0 is the name under which a binary that links this package is PID 1.
const Arg0 = "cellos-init"

// The descriptors that PID 1 inherits beside 0, 1 and 2.
const (
	ControlFD = 3 // the control socket
	LockFD    = 4 // held, never used: released by the death of PID 1
)

// The exit statuses of PID 1. They hold even when no report was read.
const (
	ExitDone     = 0   // told to, or the control socket ended
	ExitDeadline = 124 // the deadline passed
	ExitFailed   = 125 // set-up failed, or the supervisor sent nonsense
)

const version = 1

// Bounds of the protocol.
const (
	PacketMax  = 32 << 10
	MessageMax = 4 << 20 // above what execve(2) takes
	SocketsMax = 16
	FilesMax   = 64  // in a packet
	FilesTotal = 512 // in a cell

	headerSize = 4
)

// Kind is the kind of a message.
type Kind uint8

// Requests have a report of the same name or are answered as noted.
const (
	KindFiles   Kind = iota + 1 // their number, descriptors attached, not answered
	KindSetup                   // Setup → KindReady or KindFailed
	KindReady                   // no payload
	KindFailed                  // Failure
	KindSockets                 // []SocketKind → Sockets
	KindStart                   // Program → KindStarted or KindFailed
	KindStarted                 // Started
	KindSignal                  // Signal, not answered
	KindExited                  // Exited
	KindExit                    // no payload, not answered
)

func (k Kind) known() bool { return k >= KindFiles && k <= KindExit }

// ErrFrame is the error of every malformed packet and message.
const ErrFrame frameError = "cellinit: malformed frame"

type frameError string

func (e frameError) Error() string { return string(e) }

// Packets cuts a message into packets. It returns nil if the payload is
// larger than [MessageMax].
func Packets(kind Kind, payload []byte) [][]byte {
	if len(payload) > MessageMax {
		return nil
	}
	var packets [][]byte
	for {
		n := min(len(payload), PacketMax-headerSize)
		p := make([]byte, 0, headerSize+n)
		p = append(p, version, byte(kind), 0, 0)
		p = append(p, payload[:n]...)
		payload = payload[n:]
		if len(payload) > 0 {
			p[2] = 1
		}
		packets = append(packets, p)
		if len(payload) == 0 {
			return packets
		}
	}
}

// An Assembler puts messages together from packets. Its memory is bounded by
// [MessageMax].
type Assembler struct {
	kind    Kind
	payload []byte
}

// Add takes the next packet. When the packet completes a message, done is
// true and the payload is the caller's.
func (a *Assembler) Add(packet []byte) (kind Kind, payload []byte, done bool, err error) {
	if len(packet) < headerSize || len(packet) > PacketMax {
		return 0, nil, false, ErrFrame
	}
	k, more := Kind(packet[1]), packet[2]
	if packet[0] != version || !k.known() || more > 1 || packet[3] != 0 {
		return 0, nil, false, ErrFrame
	}
	if a.kind != 0 && a.kind != k {
		return 0, nil, false, ErrFrame
	}
	body := packet[headerSize:]
	if len(a.payload)+len(body) > MessageMax || (more == 1 && len(body) == 0) {
		return 0, nil, false, ErrFrame
	}
	a.payload = append(a.payload, body...)
	if more == 1 {
		a.kind = k
		return 0, nil, false, nil
	}
	payload, a.kind, a.payload = a.payload, 0, nil
	return k, payload, true, nil
}

// An encoder appends values to a payload.
type encoder []byte

func (e *encoder) u8(v uint8) { *e = append(*e, v) }

func (e *encoder) flag(on bool) {
	var v uint8
	if on {
		v = 1
	}
	e.u8(v)
}

func (e *encoder) u32(v uint32) {
	*e = append(*e, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func (e *encoder) u64(v uint64) {
	e.u32(uint32(v))
	e.u32(uint32(v >> 32))
}

func (e *encoder) str(s string) {
	e.u32(uint32(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) strs(list []string) {
	e.u32(uint32(len(list)))
	for _, s := range list {
		e.str(s)
	}
}

// A decoder takes values off a payload. After the first value that is not
// there everything is zero, and end reports it.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n uint32) []byte {
	if d.bad || uint64(n) > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() uint8 {
	b := d.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (d *decoder) flag() bool {
	v := d.u8()
	if v > 1 {
		d.bad = true
	}
	return v == 1
}

func (d *decoder) u32() uint32 {
	b := d.take(4)
	if b == nil {
		return 0
	}
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func (d *decoder) u64() uint64 {
	low := d.u32()
	return uint64(low) | uint64(d.u32())<<32
}

func (d *decoder) str() string { return string(d.take(d.u32())) }

// count reads the length of a list whose items have at least size bytes, so
// that no list claims more than the payload can hold.
func (d *decoder) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(len(d.rest)) {
		d.bad = true
	}
	if d.bad {
		return 0
	}
	return int(n)
}

func (d *decoder) strs() []string {
	n := d.count(4)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.str()
	}
	return list
}

func (d *decoder) end() error {
	if d.bad || len(d.rest) != 0 {
		return ErrFrame
	}
	return nil
}

package cellinit

// Op is what a step does.
type Op uint8

// The operations of set-up.
const (
	// OpIDMap maps the caller's ids in a new user namespace: setgroups is
	// denied, then gid_map is Data and uid_map is Source
	// (user_namespaces(7)).
	OpIDMap Op = iota + 1
	// OpMount is mount(2).
	OpMount
	// OpWrite writes Data to the existing file Target in one write.
	OpWrite
	// OpLinkUp brings the network interface Target up (netdevice(7)).
	OpLinkUp
	// OpHostname is sethostname(2) with Target.
	OpHostname
)

// A Step is one thing that PID 1 does before it is ready.
type Step struct {
	Op     Op
	Target string
	Source string
	Type   string
	Data   string
	Flags  uint64
}

// EncodeSetup returns the payload of [KindSetup].
func EncodeSetup(steps []Step) []byte {
	var e encoder
	e.u32(uint32(len(steps)))
	for _, s := range steps {
		e.u8(uint8(s.Op))
		e.str(s.Target)
		e.str(s.Source)
		e.str(s.Type)
		e.str(s.Data)
		e.u64(s.Flags)
	}
	return e
}

// DecodeSetup reads the payload of [KindSetup].
func DecodeSetup(payload []byte) ([]Step, error) {
	d := decoder{rest: payload}
	steps := make([]Step, d.count(25))
	for i := range steps {
		steps[i] = Step{Op(d.u8()), d.str(), d.str(), d.str(), d.str(), d.u64()}
		if op := steps[i].Op; op < OpIDMap || op > OpHostname {
			return nil, ErrFrame
		}
	}
	return steps, d.end()
}

// A Program is what PID 1 starts.
type Program struct {
	Argv []string
	Env  []string // K=V, exactly what the program sees
	Dir  string
	// Search is where an Argv[0] without a slash is looked for.
	Search []string
	Limits []Limit
	// Deadline is when PID 1 ends the cell, in nanoseconds of
	// CLOCK_BOOTTIME. Zero is never.
	Deadline int64
	// DropCapabilities takes every capability from the program, whatever
	// its user id. Without it uid 0 keeps what PID 1 has.
	DropCapabilities bool
}

// A Limit is the soft and hard limit of one resource (setrlimit(2)).
type Limit struct {
	Resource uint32
	Max      uint64
}

// EncodeProgram returns the payload of [KindStart].
func EncodeProgram(p Program) []byte {
	var e encoder
	e.strs(p.Argv)
	e.strs(p.Env)
	e.str(p.Dir)
	e.strs(p.Search)
	e.u32(uint32(len(p.Limits)))
	for _, l := range p.Limits {
		e.u32(l.Resource)
		e.u64(l.Max)
	}
	e.u64(uint64(p.Deadline))
	var drop uint8
	if p.DropCapabilities {
		drop = 1
	}
	e.u8(drop)
	return e
}

// DecodeProgram reads the payload of [KindStart].
func DecodeProgram(payload []byte) (Program, error) {
	d := decoder{rest: payload}
	p := Program{Argv: d.strs(), Env: d.strs(), Dir: d.str(), Search: d.strs()}
	if n := d.count(12); n > 0 {
		p.Limits = make([]Limit, n)
		for i := range p.Limits {
			p.Limits[i] = Limit{d.u32(), d.u64()}
		}
	}
	p.Deadline = int64(d.u64())
	p.DropCapabilities = d.flag()
	if len(p.Argv) == 0 || p.Deadline < 0 {
		d.bad = true
	}
	return p, d.end()
}

// SocketKind is a family and a type of socket.
type SocketKind uint8

// The sockets that PID 1 makes.
const (
	UDP4 SocketKind = iota + 1
	TCP4
	UDP6
	TCP6
)

// EncodeSockets returns the payload of a request for sockets.
func EncodeSockets(kinds []SocketKind) []byte {
	var e encoder
	e.u32(uint32(len(kinds)))
	for _, k := range kinds {
		e.u8(uint8(k))
	}
	return e
}

// DecodeSockets reads the payload of a request for sockets.
func DecodeSockets(payload []byte) ([]SocketKind, error) {
	d := decoder{rest: payload}
	n := d.count(1)
	if n < 1 || n > SocketsMax {
		return nil, ErrFrame
	}
	kinds := make([]SocketKind, n)
	for i := range kinds {
		kinds[i] = SocketKind(d.u8())
		if kinds[i] < UDP4 || kinds[i] > TCP6 {
			return nil, ErrFrame
		}
	}
	return kinds, d.end()
}

// Stage is where a start failed.
type Stage uint32

// The stages of a start, in order.
const (
	StageProtocol   Stage = iota + 1 // started twice, or before set-up
	StageLimits                      // setrlimit(2)
	StageDeadline                    // timerfd_create(2), timerfd_settime(2)
	StageWorkdir                     // chdir(2)
	StageLookup                      // the program is not there
	StagePrivileges                  // prctl(2), capset(2)
	StageExec                        // fork(2), execve(2)
)

func (s Stage) String() string {
	switch s {
	case StageProtocol:
		return "protocol"
	case StageLimits:
		return "limits"
	case StageDeadline:
		return "deadline"
	case StageWorkdir:
		return "working directory"
	case StageLookup:
		return "lookup"
	case StagePrivileges:
		return "privileges"
	case StageExec:
		return "exec"
	}
	return "unknown"
}

// A Failure is the errno of a set-up step, by index, or of a [Stage].
type Failure struct {
	At    uint32
	Errno uint32
}

// EncodeFailure returns the payload of [KindFailed].
func EncodeFailure(f Failure) []byte {
	var e encoder
	e.u32(f.At)
	e.u32(f.Errno)
	return e
}

// DecodeFailure reads the payload of [KindFailed].
func DecodeFailure(payload []byte) (Failure, error) {
	d := decoder{rest: payload}
	f := Failure{d.u32(), d.u32()}
	return f, d.end()
}

// EncodeNumber returns the payload of [KindStarted] (a pid), [KindSignal] (a
// signal) and of the report [KindSockets] (an errno or 0).
func EncodeNumber(n uint32) []byte {
	var e encoder
	e.u32(n)
	return e
}

// DecodeNumber reads what [EncodeNumber] wrote.
func DecodeNumber(payload []byte) (uint32, error) {
	d := decoder{rest: payload}
	n := d.u32()
	return n, d.end()
}

// Exited is the end of the program.
type Exited struct {
	Status uint32 // as wait(2) encodes it
	// What the program and all that PID 1 had reaped until then used.
	CPUMicros   uint64
	MaxRSSBytes uint64
	// InitCPUMicros is what PID 1 itself used, for the supervisor to
	// subtract from the total it learns when the cell is gone.
	InitCPUMicros uint64
}

// EncodeExited returns the payload of [KindExited].
func EncodeExited(x Exited) []byte {
	var e encoder
	e.u32(x.Status)
	e.u64(x.CPUMicros)
	e.u64(x.MaxRSSBytes)
	e.u64(x.InitCPUMicros)
	return e
}

// DecodeExited reads the payload of [KindExited].
func DecodeExited(payload []byte) (Exited, error) {
	d := decoder{rest: payload}
	x := Exited{d.u32(), d.u64(), d.u64(), d.u64()}
	return x, d.end()
}

package cellinit

// Op is what a step does. Unless it says otherwise, a Target that is relative
// lies in the new root once [OpRoot] has made one, and what it needs to exist,
// its parent directories or the place to mount on, is made.
type Op uint8

// The operations of set-up.
const (
	// OpIDMap maps the caller's ids in a new user namespace: setgroups is
	// denied, then gid_map is Data and uid_map is Source
	// (user_namespaces(7)).
	OpIDMap Op = iota + 1
	// OpMount is mount(2). The Target must exist.
	OpMount
	// OpWrite writes Data to the existing file Target in one write.
	OpWrite
	// OpLinkUp brings the network interface Target up (netdevice(7)).
	OpLinkUp
	// OpHostname is sethostname(2) with Target.
	OpHostname

	// OpFSID makes files be made and opened as user Flags and group Mode of
	// the cell (setfsuid(2)).
	OpFSID
	// OpRoot mounts a tmpfs with options Data and Flags over the root and
	// makes it the working directory, so that what is absolute is still of
	// the old root and what is relative of the new one.
	OpRoot
	// OpDir makes the directory Target, if it is not there, with Mode and the
	// owner of OpFSID.
	OpDir
	// OpOwn gives Target to user Flags and group Mode (chown(2)).
	OpOwn
	// OpFile makes the file Target with Data and Mode.
	OpFile
	// OpSymlink makes the symbolic link Target to Source.
	OpSymlink
	// OpFilesystem mounts a new file system of Type with Flags and Data.
	OpFilesystem
	// OpBind mounts what is at Source, with everything that is mounted
	// below, and sets the attributes Flags (mount_setattr(2)). If Inode is
	// not zero it must be that inode of device Device.
	OpBind
	// OpAttach mounts File, a descriptor of a detached mount (move_mount(2)).
	OpAttach
	// OpAttributes sets the attributes Flags of the mount Target.
	OpAttributes
	// OpMask hides Target: a file under /dev/null, a directory under an
	// empty file system. What does not exist is hidden already.
	OpMask
	// OpFreeze makes Target, if it exists, a mount of its own with the
	// attributes Flags.
	OpFreeze
	// OpDetach unmounts Target and removes the directory (umount2(2)).
	OpDetach
	// OpPivot makes the working directory the root and detaches the old one
	// (pivot_root(2)).
	OpPivot
	// OpPut writes Data to File.
	OpPut
	// OpUnshare is unshare(2) with Flags.
	OpUnshare
	// OpCapabilities gives up every capability that is not in Flags, now and
	// for what is executed (capabilities(7)).
	OpCapabilities

	opLast = OpCapabilities
)

// A Step is one thing that PID 1 does before it is ready.
type Step struct {
	Op     Op
	Target string
	Source string
	Type   string
	Data   string
	Flags  uint64
	Mode   uint32
	File   uint32 // index of a descriptor that was handed over
	Device uint64
	Inode  uint64
}

// EncodeSetup returns the payload of [KindSetup].
func EncodeSetup(steps []Step) []byte {
	e := make(encoder, 0, 96*len(steps))
	e.u32(uint32(len(steps)))
	for _, s := range steps {
		e.u8(uint8(s.Op))
		e.str(s.Target)
		e.str(s.Source)
		e.str(s.Type)
		e.str(s.Data)
		e.u64(s.Flags)
		e.u32(s.Mode)
		e.u32(s.File)
		e.u64(s.Device)
		e.u64(s.Inode)
	}
	return e
}

// DecodeSetup reads the payload of [KindSetup].
func DecodeSetup(payload []byte) ([]Step, error) {
	const least = 1 + 4*4 + 8 + 4 + 4 + 8 + 8
	d := decoder{rest: payload}
	steps := make([]Step, d.count(least))
	for i := range steps {
		steps[i] = Step{
			Op(d.u8()), d.str(), d.str(), d.str(), d.str(), d.u64(), d.u32(), d.u32(), d.u64(), d.u64(),
		}
		if op := steps[i].Op; op < OpIDMap || op > opLast {
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
	// User is who the program is, if not who PID 1 is. PID 1 must then have
	// CAP_SETUID and CAP_SETGID, and keeps CAP_KILL alone.
	User *User
	// NullInput has the program read the cell's own /dev/null in place of
	// descriptor 0, which is a file of the host's.
	NullInput bool
	// Seccomp is a filter for the program, an array of struct sock_filter
	// (seccomp(2)). Empty is none.
	Seccomp string
	// Landlock is a ruleset for the program (landlock(7)). Without rules
	// there is none.
	Landlock Landlock
}

// A User is a user and a group of the cell. The program has no other groups.
type User struct{ UID, GID uint32 }

// Landlock is a ruleset.
type Landlock struct {
	Files  uint64 // handled_access_fs
	Scoped uint64 // LANDLOCK_SCOPE_*
	Rules  []LandlockRule
}

// A LandlockRule allows access below a path. One that is not there, or that
// PID 1 cannot reach, allows nothing.
type LandlockRule struct {
	Path   string
	Access uint64
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
	e.flag(p.DropCapabilities)
	e.flag(p.User != nil)
	if p.User != nil {
		e.u32(p.User.UID)
		e.u32(p.User.GID)
	}
	e.flag(p.NullInput)
	e.str(p.Seccomp)
	e.u64(p.Landlock.Files)
	e.u64(p.Landlock.Scoped)
	e.u32(uint32(len(p.Landlock.Rules)))
	for _, r := range p.Landlock.Rules {
		e.str(r.Path)
		e.u64(r.Access)
	}
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
	if d.flag() {
		p.User = &User{d.u32(), d.u32()}
	}
	p.NullInput = d.flag()
	p.Seccomp = d.str()
	p.Landlock.Files, p.Landlock.Scoped = d.u64(), d.u64()
	if n := d.count(12); n > 0 {
		p.Landlock.Rules = make([]LandlockRule, n)
		for i := range p.Landlock.Rules {
			p.Landlock.Rules[i] = LandlockRule{d.str(), d.u64()}
		}
	}
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
	NetlinkRoute     // rtnetlink(7)
	NetlinkNetfilter // nf_tables and its log
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
		if kinds[i] < UDP4 || kinds[i] > NetlinkNetfilter {
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
	StagePrivileges                  // prctl(2), capset(2), seccomp(2)
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

package cellinit

import (
	"syscall"
	"unsafe"
)

func init() {
	if named() {
		takeOver()
	}
}

// named reports whether this process was executed as [Arg0]. os.Args is not
// filled yet.
func named() bool {
	line := readAll("/proc/self/cmdline", make([]byte, len(Arg0)+1))
	return string(line) == Arg0+"\x00"
}

// pid1 is the state of the control loop. Only the goroutine of init touches
// it, which the runtime keeps on the process's first thread until main.
type pid1 struct {
	ready    bool
	files    []int // handed over for set-up
	workload int   // its pidfd, once started
}

func takeOver() {
	prctl(prSetDumpable, 0, 0)
	defaultSignals()
	// The clone had asked for it; setting it again costs nothing and holds
	// whatever credentials did to it. If the parent died before, the
	// control socket has ended.
	prctl(prSetPdeathsig, uintptr(syscall.SIGKILL), 0)
	if closeOnExec(3) != 0 || setLimit(syscall.RLIMIT_CORE, 1) != 0 {
		// A core_pattern that is a pipe ignores a limit of 0, not of 1
		// (core(5)).
		syscall.Exit(ExitFailed)
	}
	// Modes are as the steps say. The program gets one of its own.
	syscall.Umask(0)
	p := pid1{workload: -1}
	var message Assembler
	packet := make([]byte, PacketMax+1)
	rights := make([]byte, syscall.CmsgSpace(4*FilesMax))
	for {
		n, oobn, flags, _, err := syscall.Recvmsg(ControlFD, packet, rights, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			syscall.Exit(ExitDone)
		}
		if flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0 || !p.keep(rights[:oobn]) {
			syscall.Exit(ExitFailed)
		}
		kind, payload, done, err := message.Add(packet[:n])
		if err == nil && done {
			err = p.serve(kind, payload)
		}
		if err != nil {
			syscall.Exit(ExitFailed)
		}
	}
}

// keep takes the descriptors that came with a packet.
func (p *pid1) keep(rights []byte) bool {
	if len(rights) == 0 {
		return true
	}
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil || p.ready {
		return false
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil || len(p.files)+len(fds) > FilesTotal {
			return false
		}
		p.files = append(p.files, fds...)
	}
	return true
}

func (p *pid1) serve(kind Kind, payload []byte) error {
	switch kind {
	case KindFiles:
		_, err := DecodeNumber(payload)
		return err
	case KindSetup:
		steps, err := DecodeSetup(payload)
		if err != nil || p.workload >= 0 {
			return ErrFrame
		}
		at, errno := setup(steps, p.files)
		for _, fd := range p.files {
			syscall.Close(fd)
		}
		p.files = nil
		if errno != 0 {
			report(KindFailed, EncodeFailure(Failure{uint32(at), uint32(errno)}))
			return nil
		}
		p.ready = true
		report(KindReady, nil)
	case KindSockets:
		kinds, err := DecodeSockets(payload)
		if err != nil {
			return err
		}
		sendSockets(kinds)
	case KindStart:
		program, err := DecodeProgram(payload)
		if err != nil {
			return err
		}
		p.start(program)
	case KindSignal:
		sig, err := DecodeNumber(payload)
		if err != nil || sig < 1 || sig > sigMax {
			return ErrFrame
		}
		if p.workload >= 0 {
			signalPidfd(p.workload, sig)
		}
	case KindExit:
		syscall.Exit(ExitDone)
	default:
		return ErrFrame
	}
	return nil
}

func (p *pid1) start(program Program) {
	var pid int
	stage, errno := StageProtocol, syscall.EALREADY
	if p.ready && p.workload < 0 {
		pid, p.workload, stage, errno = spawn(program)
	}
	if errno != 0 {
		report(KindFailed, EncodeFailure(Failure{uint32(stage), uint32(errno)}))
		return
	}
	report(KindStarted, EncodeNumber(uint32(pid)))
	go reap(pid)
}

// reap waits for every process that is left to PID 1 and reports the end of
// the program. It returns when there is none: nothing in the cell could make
// another.
func reap(program int) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return
		}
		if pid == program {
			var own, reaped syscall.Rusage
			_ = syscall.Getrusage(rusageSelf, &own)
			_ = syscall.Getrusage(rusageChildren, &reaped)
			report(KindExited, EncodeExited(Exited{
				Status:        uint32(status),
				CPUMicros:     micros(&reaped),
				MaxRSSBytes:   uint64(reaped.Maxrss) << 10,
				InitCPUMicros: micros(&own),
			}))
		}
	}
}

// expire ends the cell when the timer does, whatever the supervisor is doing.
func expire(timer int) {
	var count [8]byte
	for {
		n, err := syscall.Read(timer, count[:])
		if n == len(count) {
			syscall.Exit(ExitDeadline)
		}
		if err != nil && err != syscall.EINTR {
			// Without a clock the cell has no bound: closed, not open.
			syscall.Exit(ExitFailed)
		}
	}
}

// report sends a message of one packet. A supervisor that is gone is noticed
// by the control loop.
func report(kind Kind, payload []byte) {
	for _, packet := range Packets(kind, payload) {
		send(packet, nil)
	}
}

// socket is what socket(2) is to be given.
func (k SocketKind) socket() (family, typ, protocol int) {
	switch k {
	case UDP4:
		return syscall.AF_INET, syscall.SOCK_DGRAM, 0
	case UDP6:
		return syscall.AF_INET6, syscall.SOCK_DGRAM, 0
	case TCP4:
		return syscall.AF_INET, syscall.SOCK_STREAM, 0
	case TCP6:
		return syscall.AF_INET6, syscall.SOCK_STREAM, 0
	case NetlinkNetfilter:
		return syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_NETFILTER
	}
	return syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_ROUTE
}

// sendSockets makes plain sockets in this network namespace and hands them
// over. PID 1 keeps none.
func sendSockets(kinds []SocketKind) {
	fds := make([]int, 0, SocketsMax)
	defer func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}()
	for _, kind := range kinds {
		family, typ, protocol := kind.socket()
		fd, err := syscall.Socket(family, typ|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, protocol)
		if err != nil {
			report(KindSockets, EncodeNumber(uint32(errnoOf(err))))
			return
		}
		fds = append(fds, fd)
	}
	send(Packets(KindSockets, EncodeNumber(0))[0], syscall.UnixRights(fds...))
}

// send sends one packet with control data. The packets of several threads do
// not mix: each is one sendmsg(2) on a SOCK_SEQPACKET socket.
func send(packet, control []byte) {
	vector := syscall.Iovec{Base: unsafe.SliceData(packet)}
	vector.SetLen(len(packet))
	message := syscall.Msghdr{Iov: &vector, Iovlen: 1}
	if len(control) > 0 {
		message.Control = unsafe.SliceData(control)
		message.SetControllen(len(control))
	}
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_SENDMSG, ControlFD, uintptr(unsafe.Pointer(&message)), msgNoSignal)
		if errno != syscall.EINTR {
			return
		}
	}
}

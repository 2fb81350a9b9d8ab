package probe

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tryTun makes a tap interface in this network namespace; it ends with its
// descriptor.
func tryTun() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return at("open /dev/net/tun", err)
	}
	defer unix.Close(fd)
	tap, err := unix.NewIfreq("tap0")
	if err != nil {
		return at("make a tap interface", err)
	}
	tap.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	return at("make a tap interface", unix.IoctlIfreq(fd, unix.TUNSETIFF, tap))
}

// Requests of the kernel's Documentation/virt/kvm/api.rst.
const (
	kvmGetAPIVersion = 0xae00
	kvmCreateVM      = 0xae01
	kvmVCPUMmapSize  = 0xae04
	kvmCreateVCPU    = 0xae41
	kvmRun           = 0xae80
	kvmSetMemory     = 0x4020ae46 // KVM_SET_USER_MEMORY_REGION

	kvmAPIVersion = 12
	kvmExitHLT    = 5
	// kvmExitReason is where struct kvm_run has the reason.
	kvmExitReason = 8
)

// resetVector is the page with the first instruction of an x86 processor.
const (
	resetVector = 0xfffff000
	resetOffset = 0xff0
	opHLT       = 0xf4
)

// tryKVM runs one instruction in a virtual machine. Some hosts offer a
// /dev/kvm on which that never ends.
func tryKVM() (note string, err error) {
	kvm, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", at("open /dev/kvm", err)
	}
	version, err := ioctl(kvm, kvmGetAPIVersion, 0)
	if err != nil || version != kvmAPIVersion {
		return "", at("ask for the API version", orErr(err, fmt.Errorf("it is %d, not %d", version, kvmAPIVersion)))
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return "", at("create a virtual machine", err)
	}
	vcpu, err := ioctl(vm, kvmCreateVCPU, 0)
	if err != nil {
		return "", at("create a virtual processor", err)
	}
	if runtime.GOARCH != "amd64" {
		return "a virtual processor can be created", nil
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", at("map memory", err)
	}
	page[resetOffset] = opHLT
	region := struct {
		slot, flags             uint32
		guest, size, userspace_ uint64
	}{guest: resetVector, size: uint64(len(page)), userspace_: uint64(uintptr(unsafe.Pointer(&page[0])))}
	if _, err := ioctl(vm, kvmSetMemory, uintptr(unsafe.Pointer(&region))); err != nil {
		return "", at("give it memory", err)
	}
	size, err := ioctl(kvm, kvmVCPUMmapSize, 0)
	if err != nil {
		return "", at("map the virtual processor", err)
	}
	state, err := unix.Mmap(vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", at("map the virtual processor", err)
	}
	if _, err := ioctl(vcpu, kvmRun, 0); err != nil {
		return "", at("run an instruction", err)
	}
	if reason := state[kvmExitReason]; reason != kvmExitHLT {
		return "", &refusal{step: "run an instruction", errno: unix.EINVAL, text: fmt.Sprintf("it stopped for reason %d", reason)}
	}
	return "ran an instruction", nil
}

func ioctl(fd int, request, arg uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func orErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// programAbility is a program of the host that answers to --version.
func programAbility(name, means, program, remedy string) Ability {
	return Ability{Name: name, Means: means, Try: func(ctx context.Context) Result {
		path, err := exec.LookPath(program)
		if err != nil {
			return Result{Answer: Unsupported, Detail: program + " is not in PATH", Remedy: remedy}
		}
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.WaitDelay = grace
		out := &strings.Builder{}
		cmd.Stdout = &limitedWriter{w: out, left: 4096}
		if err := cmd.Run(); err != nil {
			return Result{Answer: Unknown, Detail: fmt.Sprintf("%s --version: %v", path, err)}
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		return Result{Answer: Works, Detail: filepath.Dir(path) + ": " + first}
	}}
}

// qemuProgram is the system emulator for this machine's architecture.
func qemuProgram() string {
	switch runtime.GOARCH {
	case "amd64":
		return "qemu-system-x86_64"
	case "arm64":
		return "qemu-system-aarch64"
	}
	return "qemu-system-" + runtime.GOARCH
}

// Package boottime is CLOCK_BOOTTIME: a clock that no one can set and that
// goes on while the machine is suspended (clock_gettime(2)). A cell's lifetime
// is counted on it, so that a laptop's lid does not prolong an authority.
package boottime

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since boot. It panics if the kernel has no such clock, which
// no Linux since 2.6.39 lacks.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock_gettime(CLOCK_BOOTTIME): " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// A Timer fires once, at a point of the boot clock.
type Timer struct {
	// C is closed when the deadline has passed.
	C    <-chan struct{}
	file *os.File
}

// At returns a timer for the given point of the boot clock; a point in the
// past fires at once. The timer holds a descriptor until Stop (timerfd_create(2)).
func At(deadline time.Duration) (*Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create timer on the boot clock: %w", err)
	}
	// A zero value would disarm the timer instead of firing it.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(deadline), 1))}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("arm timer on the boot clock: %w", err)
	}
	c := make(chan struct{})
	t := &Timer{C: c, file: os.NewFile(uintptr(fd), "timerfd")}
	go func() {
		var expirations [8]byte
		if _, err := t.file.Read(expirations[:]); err == nil {
			close(c)
		}
	}()
	return t, nil
}

// Stop releases the timer. C stays as it is.
func (t *Timer) Stop() { t.file.Close() }

package boottime

import (
	"testing"
	"time"
)

func TestTimer(t *testing.T) {
	for _, after := range []time.Duration{-time.Hour, 0, 5 * time.Millisecond} {
		deadline := Now() + after
		timer, err := At(deadline)
		if err != nil {
			t.Fatal(err)
		}
		<-timer.C
		if early := deadline - Now(); early > 0 {
			t.Errorf("timer for %v from now fired %v early", after, early)
		}
		timer.Stop()
	}
}

func TestStoppedTimerDoesNotFire(t *testing.T) {
	timer, err := At(Now() + time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	timer.Stop()
	select {
	case <-timer.C:
		t.Error("a stopped timer fired")
	default:
	}
}

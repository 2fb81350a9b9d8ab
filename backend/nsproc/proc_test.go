package nsproc

import (
	"os"
	"testing"
)

func TestStartTime(t *testing.T) {
	first, err := startTime(os.Getpid())
	if err != nil || first == 0 {
		t.Fatalf("start time %d, %v", first, err)
	}
	if again, err := startTime(os.Getpid()); err != nil || again != first {
		t.Errorf("start time %d, %v, and before %d", again, err, first)
	}
	if _, err := startTime(-1); err == nil {
		t.Error("a process that is not there has a start time")
	}
}

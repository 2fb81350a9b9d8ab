package supervisor

import (
	"os"
	"strconv"
	"testing"

	"cellos.io/cellos/ledger"
)

// A clean-up after a reboot finds numbers that are strangers' now. This test
// is the stranger.
func TestAProcessOfAnotherBootIsNotKilled(t *testing.T) {
	started, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	entry := ledger.Entry{Kind: kindProcess, Bound: map[string]string{
		attrPID: strconv.Itoa(os.Getpid()), attrStartTime: started, attrBoot: "another",
	}}
	check, err := removeProcess(t.Context(), entry)
	if err != nil || !check.Inferred {
		t.Errorf("got %+v, %v; want gone, inferred", check, err)
	}
}

// A number that was given out again is told by its start time.
func TestAReusedNumberIsNotKilled(t *testing.T) {
	entry := ledger.Entry{Kind: kindProcess, Bound: map[string]string{
		attrPID: strconv.Itoa(os.Getpid()), attrStartTime: "1", attrBoot: bootID(),
	}}
	check, err := removeProcess(t.Context(), entry)
	if err != nil || check.Inferred || check.Method != ledger.ByPidfd {
		t.Errorf("got %+v, %v; want gone, by pidfd", check, err)
	}
}

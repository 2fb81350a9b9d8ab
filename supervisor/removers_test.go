package supervisor

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"cellos.io/cellos/ledger"
)

// stranger is a process that is nobody's cell.
func stranger(t *testing.T) (pid int, started string) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
			t.Errorf("the stranger did not live to be ended by this test: %v", cmd.ProcessState)
		}
	})
	started, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, started
}

// After a reboot a clean-up finds numbers that are strangers' now.
func TestAProcessOfAnotherBootIsNotKilled(t *testing.T) {
	pid, started := stranger(t)
	check, err := removeProcess(t.Context(), ledger.Entry{Kind: kindProcess, Bound: map[string]string{
		attrPID: strconv.Itoa(pid), attrStartTime: started, attrBoot: "another",
	}})
	if err != nil || !check.Inferred {
		t.Errorf("got %+v, %v; want gone, inferred", check, err)
	}
}

// A number that was given out again is told by its start time.
func TestAReusedNumberIsNotKilled(t *testing.T) {
	pid, _ := stranger(t)
	check, err := removeProcess(t.Context(), ledger.Entry{Kind: kindProcess, Bound: map[string]string{
		attrPID: strconv.Itoa(pid), attrStartTime: "1", attrBoot: bootID(),
	}})
	if err != nil || check.Inferred || check.Method != ledger.ByPidfd {
		t.Errorf("got %+v, %v; want gone, by pidfd", check, err)
	}
}

package nsproc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// startTime reads field 22 of /proc/PID/stat (proc_pid_stat(5)). Fields are
// counted from the last parenthesis: the one that names the program may
// contain anything.
func startTime(pid int) (uint64, error) {
	const fieldsAfterName = 22 - 3
	path := fmt.Sprintf("/proc/%d/stat", pid)
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= fieldsAfterName {
		return 0, fmt.Errorf("%s: no field 22 in %q", path, stat)
	}
	n, err := strconv.ParseUint(string(fields[fieldsAfterName]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: field 22: %w", path, err)
	}
	return n, nil
}

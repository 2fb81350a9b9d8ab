package testenv

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Process is a line of the process table.
type Process struct {
	PID    int
	Parent int
	Name   string
	State  byte
}

// Processes returns the process table.
func Processes() []Process {
	var list []Process
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if p, ok := readProcess(path); ok {
			list = append(list, p)
		}
	}
	return list
}

// readProcess reads proc_pid_stat(5). The name is in parentheses and may
// contain any.
func readProcess(path string) (Process, bool) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return Process{}, false
	}
	line := string(stat)
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return Process{}, false
	}
	rest := strings.Fields(line[end+1:])
	if len(rest) < 2 {
		return Process{}, false
	}
	pid, err := strconv.Atoi(line[:open-1])
	if err != nil {
		return Process{}, false
	}
	parent, err := strconv.Atoi(rest[1])
	if err != nil {
		return Process{}, false
	}
	return Process{PID: pid, Parent: parent, Name: line[open+1 : end], State: rest[0][0]}, true
}

// Descendants returns the processes below one, zombies included.
func Descendants(pid int) []Process {
	children := map[int][]Process{}
	for _, p := range Processes() {
		children[p.Parent] = append(children[p.Parent], p)
	}
	var list []Process
	queue := []int{pid}
	for len(queue) > 0 {
		list = append(list, children[queue[0]]...)
		for _, p := range children[queue[0]] {
			queue = append(queue, p.PID)
		}
		queue = queue[1:]
	}
	return list
}

// Alive reports whether a process can still run. Its first thread may be a
// zombie before the others are.
func Alive(pid int) bool {
	threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat"))
	for _, path := range threads {
		if p, ok := readProcess(path); ok && p.State != 'Z' && p.State != 'X' {
			return true
		}
	}
	return false
}

// Package cgroup gives each cell that has limits of memory or processor time
// a control group of its own, of version 1 or 2 of the kernel's interface
// (cgroups(7)), and removes it again.
//
// A group of version 1 is entered through a descriptor that the supervisor
// opens: writing "0" to tasks moves the thread that writes, at once, while
// writing a process id to cgroup.procs waits for a grace period of the
// kernel, which takes milliseconds. A group of version 2 is where the first
// process of a cell is cloned into.
package cgroup

package plan

import "fmt"

// Defaults of SPEC §1 for limits that a document leaves out.
const (
	defaultPids      = 1024
	defaultDisk      = 1 << 30
	defaultCPUPeriod = 100_000
)

// Limits bound what a cell consumes. Zero is no limit.
type Limits struct {
	Pids   uint64 `json:"pidsMax"`
	Memory uint64 `json:"memoryMaxBytes,omitempty"`
	// CPU is QuotaMicros of processor time in every PeriodMicros.
	CPUQuotaMicros  uint64 `json:"cpuQuotaMicros,omitempty"`
	CPUPeriodMicros uint64 `json:"cpuPeriodMicros,omitempty"`
}

// Cgroup reports whether the limits need a cgroup.
func (l *Limits) Cgroup() bool { return l != nil && (l.Memory != 0 || l.CPUQuotaMicros != 0) }

// resources decides the limits that need the backend. It adds those controls
// that the document makes mandatory.
func (c *compiler) resources() {
	declared := c.spec.Run != nil && c.spec.Run.Limits != nil
	if c.host.Files == nil {
		if !declared {
			return
		}
		l := c.spec.Run.Limits
		for _, f := range []struct {
			name string
			set  bool
		}{{"memoryMaxBytes", l.MemoryMaxBytes != nil}, {"cpuMax", l.CPUMax != nil}, {"pidsMax", l.PidsMax != nil}} {
			if f.set {
				field := "spec.run.limits." + f.name
				c.refuse(field, fmt.Sprintf("backend %s has no resource control", c.host.Backend), "set CELLOS_CELL_BACKEND=native, or remove "+field)
			}
		}
		return
	}
	limits := &Limits{Pids: defaultPids}
	c.plan.Limits = limits
	if !declared {
		return
	}
	l := c.spec.Run.Limits
	if l.PidsMax != nil {
		limits.Pids = uint64(*l.PidsMax)
	}
	if l.MemoryMaxBytes != nil && c.controlled("cgroupMemory", "spec.run.limits.memoryMaxBytes") {
		limits.Memory = uint64(*l.MemoryMaxBytes)
	}
	if l.CPUMax != nil && c.controlled("cgroupCpu", "spec.run.limits.cpuMax") {
		limits.CPUQuotaMicros, limits.CPUPeriodMicros = uint64(l.CPUMax.QuotaMicros), defaultCPUPeriod
		if l.CPUMax.PeriodMicros != nil {
			limits.CPUPeriodMicros = uint64(*l.CPUMax.PeriodMicros)
		}
	}
}

// controlled reports whether a limit can be enforced. Under profile portable a
// cell may run without.
func (c *compiler) controlled(control, field string) bool {
	have := c.host.Isolation[control]
	if have.State == Enforced {
		return true
	}
	c.degrade(field, "cannot be enforced: "+have.By, "remove it, or delegate a cgroup and name it in CELLOS_CGROUP_PARENT")
	return false
}

// disk is what a cell may write beside its declared mounts.
func (c *compiler) disk() uint64 {
	if run := c.spec.Run; run != nil && run.Limits != nil && run.Limits.DiskMaxBytes != nil {
		return uint64(*run.Limits.DiskMaxBytes)
	}
	return defaultDisk
}

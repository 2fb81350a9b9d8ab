package native

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/backend"
	"cellos.io/cellos/cellinit"
	"cellos.io/cellos/internal/cgroup"
	"cellos.io/cellos/plan"
)

// Resources are the control groups that a cell of this plan will have. The
// plan is that of a run.
func (b *Backend) Resources(p *plan.Plan) ([]backend.Resource, error) {
	if !p.Limits.Cgroup() {
		return nil, nil
	}
	if p.RunID == "" {
		return nil, errors.New("the plan is not for a run, so its control group has no name")
	}
	paths, err := b.cgroups.Paths(p.RunID, groupLimits(p.Limits))
	if err != nil {
		return nil, err
	}
	var list []backend.Resource
	for _, path := range paths {
		list = append(list, backend.Resource{Kind: backend.Cgroup, Key: path})
	}
	return list, nil
}

func groupLimits(l *plan.Limits) cgroup.Limits {
	return cgroup.Limits{MemoryBytes: l.Memory, QuotaMicros: l.CPUQuotaMicros, PeriodMicros: l.CPUPeriodMicros}
}

// group makes the control group of a cell, or nil if it needs none. What was
// made stays if there is an error: it is on the list of whoever boots.
func (b *Backend) group(p *plan.Plan) (*cgroup.Group, error) {
	if !p.Limits.Cgroup() {
		return nil, nil
	}
	if p.RunID == "" {
		return nil, errors.New("the plan is not for a run, so its control group has no name")
	}
	return b.cgroups.Create(p.RunID, groupLimits(p.Limits))
}

// enter has PID 1 enter the group, with the thread that will start the
// workload, and see nothing above it.
func (p *preparation) enter() {
	if p.group == nil {
		return
	}
	for _, tasks := range p.group.Tasks {
		p.step("enter "+tasks.Name(), cellinit.Step{Op: cellinit.OpPut, Data: "0", File: p.hand(tasks)})
	}
	p.step("make the group the root of what the cell sees", cellinit.Step{Op: cellinit.OpUnshare, Flags: unix.CLONE_NEWCGROUP})
}

// hand is the number of a descriptor among those that PID 1 gets.
func (p *preparation) hand(f *os.File) uint32 {
	p.files = append(p.files, f)
	return uint32(len(p.files) - 1)
}

// control is the line of an isolation report about a controller.
func (b *Backend) control(c cgroup.Controller) plan.Control {
	if err := b.cgroups.Available(c); err != nil {
		return plan.Control{State: plan.Unavailable, By: err.Error()}
	}
	return plan.Control{State: plan.Enforced, By: fmt.Sprintf("cgroup of the cell's own with the %s controller", c)}
}

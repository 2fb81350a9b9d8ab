package probe

import (
	"maps"

	"cellos.io/cellos/plan"
)

// Confirm holds what a backend says it enforces against what this host can
// do. A control that rests on an ability which does not work is not enforced,
// whatever the backend says; one that rests on an ability nobody could try is
// unknown.
func Confirm(report plan.Report, abilities []Ability, results []Result) plan.Report {
	confirmed := maps.Clone(report)
	for _, r := range results {
		a := find(abilities, r.Name)
		if a == nil || r.Answer == Works {
			continue
		}
		lowered := plan.Control{State: plan.Unavailable, By: r.Name + " does not work here: " + r.Detail}
		if r.Answer == Unknown {
			lowered = plan.Control{State: plan.Unknown, By: r.Name + " could not be tried: " + r.Detail}
		}
		for _, control := range a.Controls {
			switch confirmed[control].State {
			case plan.Enforced, plan.Partial:
				confirmed[control] = lowered
			case plan.Unknown:
				if lowered.State == plan.Unavailable {
					confirmed[control] = lowered
				}
			}
		}
	}
	return confirmed
}

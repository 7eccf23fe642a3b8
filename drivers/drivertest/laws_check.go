package drivertest

import (
	"strings"

	"github.com/libcnm/libcnm/drivers"
)

func checkLaws() []law {
	return []law{
		{
			name:  "check/agrees",
			why:   "Check finds nothing where the host is as wanted, something wherever it is not, and names what",
			check: checkCheckAgrees,
		},
		{
			name:  "check/damage",
			why:   "Check names what was damaged behind the driver's back, changes nothing, and Sync repairs it",
			check: checkDamage,
		},
	}
}

// check calls Check, which must not change the host.
func (e *env) check(want []drivers.NetworkState) []drivers.Drift {
	e.Helper()
	before := e.host.Dump()
	drift, err := e.d.Check(e.ctx, want)
	e.must(err, "Check")
	e.expect(before, "Check")
	for _, d := range drift {
		if d.Driver != e.world.info.Name {
			e.Errorf("drift names driver %q, want %q: %s", d.Driver, e.world.info.Name, d)
		}
		if d.Object == "" || d.Want == d.Have {
			e.Errorf("drift says nothing: %+v", d)
		}
	}
	return drift
}

func checkCheckAgrees(e *env) {
	states := e.world.states()
	dumps := e.references(states)
	for at, have := range states {
		e.sync(e.d, have.want)
		if drift := e.check(have.want); len(drift) > 0 {
			e.Errorf("drift after Sync to %q: %s", have.name, list(drift))
		}
		for _, i := range e.rnd.Perm(len(states))[:e.enough(3, 1)] {
			if drift := e.check(states[i].want); (len(drift) > 0) != (dumps[i] != dumps[at]) {
				e.Errorf("the host is at %q, Check(%q) says %v", have.name, states[i].name, drift)
			}
		}
	}
}

func checkDamage(e *env) {
	if len(e.host.Damage) == 0 {
		e.Skip("the host has no Damage")
	}
	s := e.world.single()
	want := []drivers.NetworkState{s}
	e.build(e.d, s)
	whole := e.host.Dump()
	all := len(e.host.Damage)
	for _, i := range e.rnd.Perm(all)[:e.enough(all, (all+1)/2)] {
		damage := e.host.Damage[i]
		damage.Break(clone(s))
		// Destroyed objects may take some time to go; the driver is only asked when they have.
		if !e.eventually(func() bool { return e.host.Dump() != whole }) {
			e.Fatalf("damage %q does not show in the dump", damage.Name)
		}
		drift := e.check(want)
		if len(drift) == 0 {
			e.Errorf("Check did not notice damage %q", damage.Name)
		}
		e.sync(e.d, want)
		e.expect(whole, "Sync after damage %q", damage.Name)
		drift, err := e.d.Check(e.ctx, want)
		e.must(err, "Check after Sync repaired damage %q", damage.Name)
		if len(drift) > 0 {
			e.Errorf("drift after Sync repaired damage %q: %s", damage.Name, list(drift))
		}
	}
}

func list(drift []drivers.Drift) string {
	lines := make([]string, len(drift))
	for i, d := range drift {
		lines[i] = d.String()
	}
	return strings.Join(lines, "; ")
}

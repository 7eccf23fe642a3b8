package ovsvxlan

import "cmp"

// Delta is what turns one program into another.
type Delta struct {
	flows  []change[Flow]
	groups []change[Group]
}

// change is one key whose value differs, in the two programs; nil on a side means that the key is absent there.
type change[T comparable] struct{ have, want *T }

// Difference is one thing that differs between two programs.
type Difference struct {
	Object string // "flow table=route priority=100 ip,reg0=0x64" or "group 200"
	Want   string // empty: should not exist
	Have   string // empty: does not exist
}

// Diff returns what to change in have to get want.
func Diff(have, want Program) Delta {
	return Delta{
		flows:  changes(have.flows, want.flows, compareKeys),
		groups: changes(have.groups, want.groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) }),
	}
}

// changes walks two lists that are sorted by compare.
func changes[T comparable](have, want []T, compare func(a, b T) int) []change[T] {
	var out []change[T]
	for len(have) > 0 || len(want) > 0 {
		var order int // negative: the next key is only in have; positive: only in want
		switch {
		case len(have) == 0:
			order = 1
		case len(want) == 0:
			order = -1
		default:
			order = compare(have[0], want[0])
		}
		var c change[T]
		if order <= 0 {
			c.have, have = &have[0], have[1:]
		}
		if order >= 0 {
			c.want, want = &want[0], want[1:]
		}
		if order != 0 || *c.have != *c.want {
			out = append(out, c)
		}
	}
	return out
}

// Len returns the number of flows and groups that differ.
func (d Delta) Len() int { return len(d.flows) + len(d.groups) }

// Differences names every change for people, with the names of tables.
func (d Delta) Differences() []Difference {
	out := make([]Difference, 0, d.Len())
	for _, c := range d.flows {
		out = append(out, Difference{
			Object: cmp.Or(c.want, c.have).object(),
			Want:   c.want.effect(),
			Have:   c.have.effect(),
		})
	}
	for _, c := range d.groups {
		out = append(out, Difference{Object: cmp.Or(c.want, c.have).object(), Want: c.want.effect(), Have: c.have.effect()})
	}
	return out
}

package iptables

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// delta collects the rules to add to and delete from lists.
type delta struct {
	adds, deletes lists
}

func newDelta() delta { return delta{adds: make(lists), deletes: make(lists)} }

// change adds the difference between one network's rules before and after.
func (d delta) change(before, after lists) {
	for id, rules := range after {
		d.adds[id] = append(d.adds[id], without(rules, before[id])...)
	}
	for id, rules := range before {
		d.deletes[id] = append(d.deletes[id], without(rules, after[id])...)
	}
}

func without(rules, others []string) []string {
	return slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return slices.Contains(others, r) })
}

// recount returns how many rules each table has after the change, and false if a table begins or ceases to have any.
func (d delta) recount(before map[string]int) (map[string]int, bool) {
	after := maps.Clone(before)
	if after == nil {
		after = make(map[string]int)
	}
	for id, rules := range d.adds {
		after[id.table] += len(rules)
	}
	for id, rules := range d.deletes {
		after[id.table] -= len(rules)
	}
	for table, n := range after {
		if n > 0 != (before[table] > 0) {
			return nil, false
		}
	}
	return after, true
}

// String returns the text for iptables-restore --noflush, empty if nothing changes.
func (d delta) String() string {
	scripts := make(map[string]*script)
	fill := func(l lists, add func(s *script, chain, rule string)) {
		for _, id := range slices.SortedFunc(maps.Keys(l), compareListIDs) {
			if scripts[id.table] == nil {
				scripts[id.table] = &script{}
			}
			for _, rule := range l[id] {
				add(scripts[id.table], id.chain, rule)
			}
		}
	}
	fill(d.adds, (*script).append)
	fill(d.deletes, (*script).remove)
	var b strings.Builder
	for _, t := range tableOrder {
		if s := scripts[t]; s != nil {
			s.writeTo(&b, t)
		}
	}
	return b.String()
}

func compareListIDs(a, b listID) int {
	return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.chain, b.chain))
}

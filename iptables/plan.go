package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference is one thing that is not as the spec wants it.
type Difference struct {
	Owner, Network string // empty: not of one owner or network
	Object         string // "ip filter chain CNM-EGRESS"
	Want           string // empty: should not exist
	Have           string // empty: does not exist
	// Kept says that Sync does not change it: another program's rule comes before ours. Where ours stands is an
	// order the two programs would fight over, so it is reported and left to the admin.
	Kept bool
}

func (d Difference) String() string {
	absent := func(s string) string {
		if s == "" {
			return "absent"
		}
		return s
	}
	return fmt.Sprintf("%s: want %s, have %s", d.Object, absent(d.Want), absent(d.Have))
}

// plan returns the restore text that makes have equal to want, empty if it is, and every difference.
func plan(have dump, want Ruleset) (string, []Difference) {
	want = want.keepUser(have)
	names := make([]string, 0, len(want.tables))
	for _, t := range want.tables {
		names = append(names, t.name)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var text strings.Builder
	var diffs []Difference
	for _, name := range names {
		p := planner{family: want.family, want: want.table(name), have: have[name]}
		p.chains()
		p.orphans()
		p.userChain()
		p.jumps()
		p.script.writeTo(&text, name)
		diffs = append(diffs, p.diffs...)
	}
	return text.String(), diffs
}

// keepUser adds what it takes for the admin's rules to stay in force when we have none of our own.
func (r Ruleset) keepUser(have dump) Ruleset {
	if len(have["filter"][userChain].rules) == 0 || slices.ContainsFunc(r.tables, func(t table) bool { return t.user }) {
		return r
	}
	full := filterTable()
	r.tables = append(slices.Clone(r.tables), table{
		name:   full.name,
		user:   true,
		jumps:  full.jumps[:1],
		chains: []chain{{name: full.chains[0].name, rules: full.chains[0].rules[:1]}},
	})
	return r
}

// planner finds the differences of one table and the lines that repair them.
type planner struct {
	family Family
	want   table
	have   map[string]dumpedChain
	script script
	diffs  []Difference
}

func (p *planner) differ(kind, chain, want, have string) {
	key := marked(want + have)
	p.diffs = append(p.diffs, Difference{
		Owner: key.owner, Network: key.id,
		Object: fmt.Sprintf("%s %s %s %s", p.family, p.want.name, kind, chain),
		Want:   want, Have: have,
	})
}

// chains compares the wanted chains. In a list only what differs changes. Any other chain, and one into which somebody
// put rules that are not ours, is written anew: the restore replaces it at once, so no packet meets it half-way.
func (p *planner) chains() {
	for _, c := range p.want.chains {
		have, ok := p.have[c.name]
		if !ok {
			p.differ("chain", c.name, fmt.Sprintf("%d rules", len(c.rules)), "")
			p.rewrite(c)
			continue
		}
		missing, extra := compareRules(c.rules, have.rules)
		for _, r := range missing {
			p.differ("chain", c.name, r, "")
		}
		for _, r := range extra {
			p.differ("chain", c.name, "", r)
		}
		foreign := slices.ContainsFunc(extra, func(r string) bool { return marked(r).owner == "" })
		switch {
		case c.list && !foreign:
			for _, r := range missing {
				p.script.append(c.name, r)
			}
			for _, r := range extra {
				p.script.remove(c.name, r)
			}
		case len(missing)+len(extra) > 0:
			p.rewrite(c)
		case !c.list && !slices.EqualFunc(c.rules, have.rules, sameRule):
			p.differ("order of chain", c.name, strings.Join(c.rules, "; "), strings.Join(have.rules, "; "))
			p.rewrite(c)
		}
	}
}

func (p *planner) rewrite(c chain) {
	p.script.reset(c.name)
	for _, r := range c.rules {
		p.script.append(c.name, r)
	}
}

func sameRule(a, b string) bool { return canonical(a) == canonical(b) }

// compareRules returns what is in one of two chains and not in the other, or not as often, in the chains' order.
func compareRules(want, have []string) (missing, extra []string) {
	count := make(map[string]int, len(have))
	for _, r := range have {
		count[canonical(r)]++
	}
	for _, r := range want {
		key := canonical(r)
		if count[key]--; count[key] < 0 {
			missing = append(missing, r)
		}
	}
	for _, r := range have {
		key := canonical(r)
		if count[key] > 0 {
			count[key]--
			extra = append(extra, r)
		}
	}
	return missing, extra
}

// orphans empties and deletes chains of ours that are not wanted. One that another's rule leads to cannot be deleted.
func (p *planner) orphans() {
	for _, name := range slices.Sorted(maps.Keys(p.have)) {
		wanted := slices.ContainsFunc(p.want.chains, func(c chain) bool { return c.name == name })
		if wanted || !ownChain(name) {
			continue
		}
		rules, used := len(p.have[name].rules), p.usedByOthers(name)
		if used && rules == 0 {
			continue
		}
		p.differ("chain", name, "", fmt.Sprintf("%d rules", rules))
		p.script.reset(name)
		if !used {
			p.script.drop(name)
		}
	}
}

// userChain makes the admin's chain where it is wanted and deletes it, only ever empty, where it is not.
func (p *planner) userChain() {
	have, ok := p.have[userChain]
	switch {
	case p.want.user && !ok:
		p.differ("chain", userChain, "to exist", "")
		p.script.create(userChain)
	case !p.want.user && ok && p.want.name == "filter" && len(have.rules) == 0 && !p.usedByOthers(userChain):
		p.differ("chain", userChain, "", "0 rules")
		p.script.drop(userChain)
	}
}

// jumps compares our rules in the built-in chains.
func (p *planner) jumps() {
	found := make(map[jump]int) // how often, by canonical rule
	for _, from := range slices.Sorted(maps.Keys(p.have)) {
		for _, rule := range p.have[from].rules {
			if !p.have[from].builtin || !ourJump(rule) {
				continue
			}
			key := jump{from, canonical(rule)}
			found[key]++
			if !p.wantsJump(key) || found[key] > 1 {
				p.differ("jump from", from, "", rule)
				p.script.remove(from, rule)
			}
		}
	}
	for _, j := range p.want.jumps {
		if found[jump{j.from, canonical(j.rule)}] == 0 {
			p.differ("jump from", j.from, j.rule, "")
			p.script.insert(j.from, j.rule)
			continue
		}
		if first := p.have[j.from].rules[0]; !ourJump(first) {
			p.differ("place of jump from", j.from, "first", "after "+first)
			p.diffs[len(p.diffs)-1].Kept = true
		}
	}
}

func (p *planner) wantsJump(key jump) bool {
	return slices.ContainsFunc(p.want.jumps, func(j jump) bool { return key == jump{j.from, canonical(j.rule)} })
}

// usedByOthers reports whether a rule that is not ours leads to the chain.
func (p *planner) usedByOthers(name string) bool {
	for from, c := range p.have {
		for _, rule := range c.rules {
			if ownChain(from) || c.builtin && ourJump(rule) {
				continue
			}
			if target(rule) == name {
				return true
			}
		}
	}
	return false
}

func ourJump(rule string) bool {
	return value(rule, "--comment") == jumpMark && strings.HasPrefix(target(rule), chainPrefix)
}

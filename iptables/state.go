package iptables

import (
	"maps"
	"slices"
)

// state is what all owners have asked for so far.
type state struct {
	parts map[string]*part // by owner
	taken claims
}

// part is one owner's. Until its first Sync it is incomplete: rules on the host that carry the owner's mark may be from
// an earlier process and are left alone, except those of networks the owner has spoken of since.
type part struct {
	complete   bool
	networks   map[string]*Network // nil: to be removed, with what an earlier process left of it
	ports      []uint16
	portsKnown bool
}

func newState() state { return state{parts: make(map[string]*part), taken: make(claims)} }

// clone copies what edits change: maps, not the networks themselves.
func (s state) clone() state {
	c := state{parts: make(map[string]*part, len(s.parts)), taken: maps.Clone(s.taken)}
	for owner, p := range s.parts {
		q := *p
		q.networks = maps.Clone(p.networks)
		c.parts[owner] = &q
	}
	return c
}

func (s state) part(owner string) *part {
	p := s.parts[owner]
	if p == nil {
		p = &part{networks: make(map[string]*Network)}
		s.parts[owner] = p
	}
	return p
}

// set adds or replaces a network. On error s is unchanged.
func (s state) set(owner string, n Network) error {
	self := networkKey{owner, n.ID}
	if err := s.taken.check(owner, n, func(k networkKey) bool { return k == self }); err != nil {
		return err
	}
	p := s.part(owner)
	if old := p.networks[n.ID]; old != nil {
		s.taken.remove(*old)
	}
	s.taken.add(owner, n)
	p.networks[n.ID] = &n
	return nil
}

func (s state) remove(owner, id string) {
	p := s.part(owner)
	if old := p.networks[id]; old != nil {
		s.taken.remove(*old)
	}
	p.networks[id] = nil
}

// forgetGone drops what was to be removed, after it has been.
func (s state) forgetGone() {
	for _, p := range s.parts {
		maps.DeleteFunc(p.networks, func(_ string, n *Network) bool { return n == nil })
	}
}

func (s state) setPorts(owner string, ports []uint16) {
	p := s.part(owner)
	p.ports, p.portsKnown = ports, true
}

// replace makes spec everything its owner wants. On error s is unchanged.
func (s state) replace(spec Spec) error {
	for _, n := range spec.Networks {
		if err := s.taken.check(spec.Owner, n, func(k networkKey) bool { return k.owner == spec.Owner }); err != nil {
			return err
		}
	}
	for _, old := range s.part(spec.Owner).networks {
		if old != nil {
			s.taken.remove(*old)
		}
	}
	p := &part{complete: true, networks: make(map[string]*Network), ports: spec.TunnelPorts, portsKnown: true}
	for _, n := range spec.Networks {
		s.taken.add(spec.Owner, n)
		p.networks[n.ID] = &n
	}
	s.parts[spec.Owner] = p
	return nil
}

// rulesOf returns the rules of one network, or of one owner's tunnel ports.
func (s state) rulesOf(f Family, k networkKey) lists {
	l := make(lists)
	p := s.parts[k.owner]
	switch {
	case p == nil:
	case k.id == "":
		portRules(l, k.owner, p.ports)
	case p.networks[k.id] != nil:
		networkRules(l, f, k.owner, *p.networks[k.id])
	}
	return l
}

// lists returns the rules of everything in s, in the order of Compile.
func (s state) lists(f Family) lists {
	l := make(lists)
	for _, owner := range slices.Sorted(maps.Keys(s.parts)) {
		p := s.parts[owner]
		for _, id := range slices.Sorted(maps.Keys(p.networks)) {
			if n := p.networks[id]; n != nil {
				networkRules(l, f, owner, *n)
			}
		}
		portRules(l, owner, p.ports)
	}
	return l
}

// leftovers returns the rules in d that an earlier process made and whose fate the owner has not told yet.
func (s state) leftovers(d dump) lists {
	l := make(lists)
	for table, chains := range d {
		for name, c := range chains {
			if !ownChain(name) {
				continue
			}
			for _, rule := range c.rules {
				if k := marked(rule); k.owner != "" && !s.knows(k) {
					id := listID{table, name}
					l[id] = append(l[id], rule)
				}
			}
		}
	}
	return l
}

// knows reports whether s says all about k, be it that it is gone.
func (s state) knows(k networkKey) bool {
	p := s.parts[k.owner]
	if p == nil {
		return false
	}
	if k.id == "" {
		return p.portsKnown
	}
	_, spoken := p.networks[k.id]
	return p.complete || spoken
}

// want returns the ruleset that makes s true on a host that looks like d.
func (s state) want(f Family, d dump) Ruleset {
	l := s.lists(f)
	l.merge(s.leftovers(d))
	return assemble(f, l)
}

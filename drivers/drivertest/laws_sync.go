package drivertest

import (
	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/drivers"
)

func syncLaws() []law {
	return []law{
		{
			name:  "sync/walk",
			why:   "the host is a function of the desired state alone: whatever the state before, Sync and single calls reach the same dump as building from nothing",
			check: checkWalk,
		},
		{
			name:  "sync/orphans",
			why:   "a driver that died leaves objects nobody remembers: the next Sync finds them by their owner mark and deletes them",
			check: checkOrphans,
		},
		{
			name:  "sync/bystanders",
			why:   "what does not carry the owner mark is somebody else's and never touched",
			check: checkBystanders,
		},
		{
			name:  "sync/crash",
			why:   "the process may die at any instant: a new driver on the same host, which remembers nothing, takes over by Sync and goes on by single calls",
			check: checkCrash,
		},
	}
}

// references builds each state from nothing by single calls, after which Check finds nothing, and remembers its dump.
func (e *env) references(states []state) []string {
	e.Helper()
	if e.host.Slow && e.suite.dumps != nil {
		return e.suite.dumps
	}
	dumps := make([]string, len(states))
	for i, s := range states {
		for _, n := range s.want {
			e.build(e.d, n)
		}
		if drift := e.check(s.want); len(drift) > 0 {
			e.Errorf("drift after single calls to %q: %s", s.name, list(drift))
		}
		dumps[i] = e.host.Dump()
		e.clean()
	}
	e.suite.dumps = dumps
	return dumps
}

// checkWalk takes every transition between two states once, or on a slow host some, in random order: by single calls, by Sync, or by the Sync
// of a driver that has just started because the one before has died.
func checkWalk(e *env) {
	states := e.world.states()
	dumps := e.references(states)
	at := 0
	tour := e.tour(len(states))
	for _, to := range tour[:e.enough(len(tour), len(states)+len(states)/2)] {
		how := "single calls"
		if e.rnd.IntN(2) == 0 || !e.step(states[at].want, states[to].want) {
			how = "Sync"
			if e.rnd.IntN(2) == 0 {
				how = "Sync by a new driver"
				e.d = e.open()
			}
			e.sync(e.d, states[to].want)
		}
		e.expect(dumps[to], "%s from %q to %q", how, states[at].name, states[to].name)
		at = to
	}
}

// tour visits every ordered pair of n states once and returns where each step leads. It starts and ends at 0.
// It is a random Euler circuit of the complete directed graph (Hierholzer).
func (e *env) tour(n int) []int {
	exits := make([][]int, n)
	for i := range exits {
		for _, j := range e.rnd.Perm(n) {
			if i != j {
				exits[i] = append(exits[i], j)
			}
		}
	}
	var circuit []int
	stack := []int{0}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		if rest := exits[at]; len(rest) > 0 {
			exits[at] = rest[1:]
			stack = append(stack, rest[0])
			continue
		}
		circuit = append(circuit, at)
		stack = stack[:len(stack)-1]
	}
	// The circuit was collected backwards; without its first element it reads as steps from 0.
	for i, j := 0, len(circuit)-1; i < j; i, j = i+1, j-1 {
		circuit[i], circuit[j] = circuit[j], circuit[i]
	}
	return circuit[1:]
}

// step goes from one state to another by single calls, as a controller does. It reports false, having done nothing,
// when that cannot be: peers only ever grow in generation.
func (e *env) step(from, to []drivers.NetworkState) bool {
	e.Helper()
	old := map[drivers.NetworkID]drivers.NetworkState{}
	for _, s := range from {
		old[s.Network.ID] = s
	}
	for _, s := range to {
		if older(s.Peers, old[s.Network.ID].Peers) {
			return false
		}
	}
	for _, s := range from {
		next, stays := find(to, s.Network.ID)
		for _, ep := range s.Endpoints {
			if have := endpointOf(next, ep.ID); (!stays && e.rnd.IntN(2) == 0) || stays && !cmp.Equal(have, &ep, exact...) {
				e.must(e.d.RemoveEndpoint(e.ctx, s.Network.ID, ep.ID), "RemoveEndpoint")
			}
		}
		if !stays {
			e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
		}
	}
	for _, s := range to {
		e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
		for _, ep := range s.Endpoints {
			e.apply(e.d, ep)
		}
		if p, ok := e.peers(e.d); ok {
			u := drivers.PeerUpdate{Full: true, Set: s.Peers, Members: s.Members}
			if e.rnd.IntN(2) == 0 {
				u = delta(old[s.Network.ID].Peers, s)
			}
			e.must(p.ApplyPeers(e.ctx, s.Network.ID, u), "ApplyPeers")
		}
	}
	return true
}

func find(states []drivers.NetworkState, id drivers.NetworkID) (drivers.NetworkState, bool) {
	for _, s := range states {
		if s.Network.ID == id {
			return s, true
		}
	}
	return drivers.NetworkState{}, false
}

func endpointOf(s drivers.NetworkState, id drivers.EndpointID) *drivers.Endpoint {
	for i := range s.Endpoints {
		if s.Endpoints[i].ID == id {
			return &s.Endpoints[i]
		}
	}
	return nil
}

func checkOrphans(e *env) {
	for _, n := range e.world.full().want {
		e.build(e.d, n)
	}
	e.d = e.open()
	e.sync(e.d, nil)
	e.expect("", "a new driver's Sync(nothing) over what its predecessor left")

	s := e.world.single()
	e.build(e.d, s)
	one := e.host.Dump()
	for _, n := range e.world.full().want {
		e.must(e.d.ApplyNetwork(e.ctx, n.Network), "ApplyNetwork(%s)", n.Network.Name)
	}
	orphan := e.world.endpoint(s, 1, 1, "eth0")
	e.apply(e.d, orphan)
	e.d = e.open()
	e.sync(e.d, []drivers.NetworkState{s})
	e.expect(one, "a new driver's Sync over the orphans %s and whatever is in other networks", orphan.ID)
}

func checkBystanders(e *env) {
	if e.host.Bystander == nil {
		e.Skip("the host has no Bystander")
	}
	other := e.host.Bystander()
	before := other()
	if before == "" {
		e.Fatalf("the dump of the bystander is empty")
	}
	if dump := e.host.Dump(); dump != "" {
		e.Fatalf("the bystander is part of the driver's own dump:\n%s", dump)
	}
	for _, s := range []state{e.world.full(), {"nothing", nil}} {
		e.sync(e.d, s.want)
		if diff := lineDiff(before, other()); diff != "" {
			e.Fatalf("Sync to %q changed a bystander (-before +after):\n%s", s.name, diff)
		}
		drift, err := e.d.Check(e.ctx, s.want)
		e.must(err, "Check")
		if len(drift) > 0 {
			e.Errorf("Check(%q) counts a bystander as drift: %v", s.name, drift)
		}
	}
	s := e.world.single()
	e.build(e.d, s)
	e.must(e.d.RemoveEndpoint(e.ctx, s.Network.ID, s.Endpoints[0].ID), "RemoveEndpoint")
	e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
	if diff := lineDiff(before, other()); diff != "" {
		e.Errorf("single calls changed a bystander (-before +after):\n%s", diff)
	}
}

// checkCrash has a new driver go on by single calls where its predecessor died.
func checkCrash(e *env) {
	full := e.world.full().want
	e.sync(e.d, full)
	before := e.host.Dump()
	e.d = e.open()
	e.sync(e.d, full)
	for _, s := range full {
		for _, ep := range s.Endpoints {
			e.apply(e.d, ep)
		}
	}
	e.expect(before, "a new driver synced and applied what its predecessor had")
	e.d = e.open()
	e.sync(e.d, full)
	for _, s := range full {
		e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
	}
	e.expect("", "a new driver removed what its predecessor had")
}

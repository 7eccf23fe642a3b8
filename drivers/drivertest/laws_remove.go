package drivertest

import (
	"github.com/libcnm/libcnm/drivers"
)

func removeLaws() []law {
	return []law{
		{
			name:  "remove/all",
			why:   "what was applied can be removed without a trace",
			check: checkRemoveAll,
		},
		{
			name:  "remove/absent",
			why:   "removing what is absent succeeds: the call before may have done its work and lost its answer",
			check: checkRemoveAbsent,
		},
		{
			name:  "remove/network with endpoints",
			why:   "RemoveNetwork removes everything in the network, peers too, and nothing of other networks",
			check: checkRemoveNetwork,
		},
		{
			name:  "remove/sandbox gone",
			why:   "the sandbox's namespace may vanish before RemoveEndpoint, which still cleans the host and does not fail",
			check: checkRemoveGone,
		},
	}
}

func checkRemoveAll(e *env) {
	states := e.world.states()
	for _, i := range e.rnd.Perm(len(states))[:e.enough(len(states), (len(states)+1)/2)] {
		s := states[i]
		for _, n := range s.want {
			e.build(e.d, n)
		}
		for _, n := range s.want {
			e.must(e.d.ApplyNetwork(e.ctx, n.Network), "ApplyNetwork(%s)", n.Network.Name)
			for _, ep := range n.Endpoints {
				e.must(e.d.RemoveEndpoint(e.ctx, n.Network.ID, ep.ID), "RemoveEndpoint(%s)", ep.ID)
			}
			e.must(e.d.RemoveNetwork(e.ctx, n.Network.ID), "RemoveNetwork(%s)", n.Network.Name)
		}
		e.expect("", "%s, built and removed", s.name)
	}
}

func checkRemoveAbsent(e *env) {
	s := e.world.single()
	ep := s.Endpoints[0]
	absent := func(when string) {
		e.Helper()
		before := e.host.Dump()
		unknown := drivers.EndpointID(id("endpoint", "unknown"))
		e.must(e.d.RemoveEndpoint(e.ctx, s.Network.ID, unknown), "RemoveEndpoint of an unknown endpoint %s", when)
		nobody := drivers.NetworkID(id("network", "unknown"))
		e.must(e.d.RemoveEndpoint(e.ctx, nobody, unknown), "RemoveEndpoint of an unknown network %s", when)
		e.must(e.d.RemoveNetwork(e.ctx, nobody), "RemoveNetwork of an unknown network %s", when)
		e.expect(before, "removals of the absent %s", when)
	}
	absent("on a clean host")
	e.build(e.d, s)
	absent("beside a network")
	for range 2 {
		e.must(e.d.RemoveEndpoint(e.ctx, s.Network.ID, ep.ID), "RemoveEndpoint")
	}
	for range 2 {
		e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
	}
	e.expect("", "everything removed twice")
}

func checkRemoveNetwork(e *env) {
	want := e.world.full().want
	if !e.world.info.Singleton {
		want = []drivers.NetworkState{e.world.single(), e.world.adapt(e.world.network(1))}
		want[1].Endpoints = []drivers.Endpoint{e.world.endpoint(want[1], 0, 1, "eth0")}
	}
	rest := want[1:]
	for _, s := range rest {
		e.build(e.d, s)
	}
	without := e.host.Dump()
	e.build(e.d, want[0])
	e.must(e.d.RemoveNetwork(e.ctx, want[0].Network.ID), "RemoveNetwork with endpoints in it")
	e.expect(without, "RemoveNetwork with endpoints in it")

	// The same network again must not find what the first had.
	e.must(e.d.ApplyNetwork(e.ctx, want[0].Network), "ApplyNetwork")
	again := e.host.Dump()
	e.clean()
	for _, s := range rest {
		e.build(e.d, s)
	}
	e.must(e.d.ApplyNetwork(e.ctx, want[0].Network), "ApplyNetwork")
	if diff := lineDiff(e.host.Dump(), again); diff != "" {
		e.Errorf("a network made again after RemoveNetwork differs from a new one (-new +again):\n%s", diff)
	}
}

func checkRemoveGone(e *env) {
	s := e.world.single()
	if e.sandbox(0).Delete == nil {
		e.Skip("the host's sandboxes have no Delete")
	}
	e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
	empty := e.host.Dump()
	e.apply(e.d, s.Endpoints[0])
	e.sandbox(0).Delete()
	e.must(e.d.RemoveEndpoint(e.ctx, s.Network.ID, s.Endpoints[0].ID), "RemoveEndpoint after its sandbox")
	// A destroyed namespace takes its interfaces along some time later.
	if !e.eventually(func() bool { return e.host.Dump() == empty }) {
		e.expect(empty, "RemoveEndpoint after its sandbox")
	}
}

package drivertest

import (
	"context"
	"errors"

	"github.com/libcnm/libcnm/drivers"
)

func contextLaws() []law {
	return []law{
		{
			name:  "context/cancelled",
			why:   "a method whose context has ended returns that context's error and changes nothing",
			check: checkCancelled,
		},
		{
			name:  "context/sync interrupted",
			why:   "a Sync may be cut short anywhere: it says so, and the next one completes the work",
			check: checkSyncInterrupted,
		},
		{
			name:  "context/apply interrupted",
			why:   "an Apply that was cut short can be repeated, and what it left can be removed",
			check: checkApplyInterrupted,
		},
	}
}

// call is one driver method with its arguments.
type call struct {
	name string
	do   func(ctx context.Context, d drivers.Driver) error
}

// calls lists every method that takes a context, with arguments out of s.
func (e *env) calls(s drivers.NetworkState) []call {
	ep := s.Endpoints[0]
	want := []drivers.NetworkState{s}
	all := []call{
		{"ApplyNetwork", func(ctx context.Context, d drivers.Driver) error { return d.ApplyNetwork(ctx, s.Network) }},
		{"ApplyEndpoint", func(ctx context.Context, d drivers.Driver) error {
			_, err := d.ApplyEndpoint(ctx, ep)
			return err
		}},
		{"Sync", func(ctx context.Context, d drivers.Driver) error { return d.Sync(ctx, want) }},
		{"Sync(nothing)", func(ctx context.Context, d drivers.Driver) error { return d.Sync(ctx, nil) }},
		{"Check", func(ctx context.Context, d drivers.Driver) error {
			_, err := d.Check(ctx, want)
			return err
		}},
		{"RemoveEndpoint", func(ctx context.Context, d drivers.Driver) error {
			return d.RemoveEndpoint(ctx, ep.Network, ep.ID)
		}},
		{"RemoveNetwork", func(ctx context.Context, d drivers.Driver) error { return d.RemoveNetwork(ctx, ep.Network) }},
	}
	if _, ok := e.peers(e.d); ok {
		u := drivers.PeerUpdate{Full: true, Members: s.Members}
		all = append(all, call{"ApplyPeers", func(ctx context.Context, d drivers.Driver) error {
			p, _ := e.peers(d)
			return p.ApplyPeers(ctx, ep.Network, u)
		}})
	}
	return all
}

func checkCancelled(e *env) {
	s := e.world.single()
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	all := func(where string) {
		before := e.host.Dump()
		for _, c := range e.calls(s) {
			if err := c.do(ended, e.d); !errors.Is(err, context.Canceled) {
				e.Errorf("%s with a cancelled context %s: %v, want context.Canceled", c.name, where, err)
			}
			e.expect(before, "%s with a cancelled context %s", c.name, where)
		}
	}
	all("on a clean host")
	e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
	all("on an empty network")
	e.build(e.d, s)
	all("on a full network")
}

// fuses yields how many looks at the context to allow: the first places one by one, then a random one out of each of
// ever longer stretches, so that many runs see them all.
func (e *env) fuses(yield func(int) bool) {
	for looks := 0; looks < 5000; {
		stretch := 1 + looks/e.enough(2, 1)
		if !yield(looks + e.rnd.IntN(stretch)) {
			return
		}
		looks += stretch
	}
}

// cut runs a call with a fuse and reports whether it was cut short. One that succeeded although its context ended is
// not: it must have done all its work.
func (e *env) cut(d drivers.Driver, looks int, c call) (short bool) {
	e.Helper()
	ctx := newFuse(e.ctx, looks)
	defer ctx.cancel()
	err := c.do(ctx, d)
	switch {
	case err == nil:
		return false
	case !ctx.blown():
		e.Fatalf("%s, not interrupted: %v", c.name, err)
	case !errors.Is(err, context.Canceled):
		e.Errorf("%s interrupted at look %d: %v, want context.Canceled", c.name, looks, err)
	}
	return true
}

// checkSyncInterrupted cuts transitions between random states at each place, until the fuse has outlasted a few of them.
func checkSyncInterrupted(e *env) {
	states := e.world.states()
	dumps := e.references(states)
	at, whole := 0, 0
	for looks := range e.fuses {
		to := (at + 1 + e.rnd.IntN(len(states)-1)) % len(states) // any other state
		want := states[to].want
		short := e.cut(e.d, looks, call{"Sync", func(ctx context.Context, d drivers.Driver) error { return d.Sync(ctx, want) }})
		if short {
			if e.rnd.IntN(2) == 0 {
				e.d = e.open() // the process was killed rather than told to stop
			}
			e.sync(e.d, want)
		}
		e.expect(dumps[to], "Sync from %q to %q, interrupted at look %d: %t", states[at].name, states[to].name, looks, short)
		at = to
		if !short {
			whole++
		}
		if whole == e.enough(3, 1) {
			return
		}
	}
}

func checkApplyInterrupted(e *env) {
	s := e.world.single()
	e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
	empty := e.host.Dump()
	e.apply(e.d, s.Endpoints[0])
	one := e.host.Dump()
	e.clean()

	calls := e.calls(s)
	applyNetwork, applyEndpoint := calls[0], calls[1]
	removeEndpoint, removeNetwork := calls[5], calls[6]
	e.interrupt(applyNetwork, empty, removeNetwork, "")
	e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
	e.interrupt(applyEndpoint, one, removeEndpoint, empty)
}

// interrupt cuts apply short at each place. What it left is completed by repeating it in one round and undone by
// remove in the next; remove itself is cut short and repeated too. On a slow host the first round is left out at random.
func (e *env) interrupt(apply call, applied string, remove call, removed string) {
	e.Helper()
	for looks := range e.fuses {
		short := e.cut(e.d, looks, apply)
		if !short {
			e.expect(applied, "%s, not interrupted", apply.name)
		}
		if !e.host.Slow || e.rnd.IntN(2) == 0 {
			e.must(remove.do(e.ctx, e.d), "%s", remove.name)
			e.expect(removed, "%s after %s was interrupted at look %d: %t", remove.name, apply.name, looks, short)
			e.cut(e.d, looks, apply)
		}
		e.must(apply.do(e.ctx, e.d), "%s", apply.name)
		e.expect(applied, "%s repeated after it was interrupted at look %d: %t", apply.name, looks, short)

		undone := !e.cut(e.d, looks, remove)
		e.must(remove.do(e.ctx, e.d), "%s", remove.name)
		e.expect(removed, "%s repeated after it was interrupted at look %d", remove.name, looks)
		if !short && undone {
			return
		}
	}
}

package drivertest

import (
	"slices"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/drivers"
)

func applyLaws() []law {
	return []law{
		{
			name:  "apply/twice",
			why:   "applying equal state twice changes nothing and answers the same: the controller repeats a call whose outcome it does not know",
			check: checkApplyTwice,
		},
		{
			name:  "apply/visible",
			why:   "each endpoint is something on the host, or the dump of this suite proves nothing",
			check: checkApplyVisible,
		},
		{
			name:  "apply/attachment",
			why:   "the attachment tells the controller what to configure in the sandbox: an interface of the name asked for or none, and at most one gateway per family, of the network itself",
			check: checkAttachment,
		},
		{
			name:  "apply/values",
			why:   "arguments are values: a driver that keeps one keeps a copy, for the caller may reuse its slices",
			check: checkValues,
		},
		{
			name:  "apply/parallel",
			why:   "methods for different endpoints run in parallel and end in the same state as one after the other",
			check: checkParallel,
		},
	}
}

func checkApplyTwice(e *env) {
	s := e.world.single()
	e.build(e.d, s)
	once := e.host.Dump()
	first := e.apply(e.d, s.Endpoints[0])
	e.expect(once, "ApplyEndpoint, the second time")
	e.build(e.d, s)
	e.expect(once, "every Apply, the second time")
	second := e.apply(e.d, s.Endpoints[0])
	if diff := cmp.Diff(first, second, exact...); diff != "" {
		e.Errorf("ApplyEndpoint answers differently for equal state (-before +after):\n%s", diff)
	}
}

func checkApplyVisible(e *env) {
	if !e.world.info.Addressing {
		return // such a driver may have nothing to program
	}
	s := e.world.single()
	e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork")
	empty := e.host.Dump()
	e.apply(e.d, s.Endpoints[0])
	one := e.host.Dump()
	if one == empty {
		e.Errorf("the dump is the same with and without an endpoint:\n%s", one)
	}
}

func checkAttachment(e *env) {
	for _, s := range e.world.full().want { // an internal network among them, unless there can only be one
		e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork(%s)", s.Network.Name)
		for _, ep := range s.Endpoints {
			a := e.apply(e.d, ep)
			if a.Interface != "" && a.Interface != ep.Interface {
				e.Errorf("attachment has interface %q, asked for was %q", a.Interface, ep.Interface)
			}
			if a.MTU < 0 || a.MTU > 65535 || s.Network.MTU > 0 && a.MTU > s.Network.MTU {
				e.Errorf("attachment has MTU %d, the network %d", a.MTU, s.Network.MTU)
			}
			if s.Network.Internal && len(a.Gateways) > 0 {
				e.Errorf("endpoint of the internal network %s got gateways %v", s.Network.Name, a.Gateways)
			}
			seen := map[bool]bool{}
			for _, gw := range a.Gateways {
				if !slices.ContainsFunc(s.Network.Subnets, func(n drivers.Subnet) bool { return n.Gateway == gw }) {
					e.Errorf("gateway %s is none of the network's: %v", gw, s.Network.Subnets)
				}
				if seen[gw.Is4()] {
					e.Errorf("two gateways of one family: %v", a.Gateways)
				}
				seen[gw.Is4()] = true
			}
		}
	}
}

// checkValues lets the caller scribble over everything it passed, and looks whether the driver reads it again.
func checkValues(e *env) {
	s := e.world.single()
	scratch := clone(s)
	e.build(e.d, scratch)
	built := e.host.Dump()
	before := e.apply(e.d, scratch.Endpoints[0])
	scribble(&scratch)
	e.expect(built, "the caller changed its own slices")
	if diff := cmp.Diff(before, e.apply(e.d, s.Endpoints[0]), exact...); diff != "" {
		e.Errorf("ApplyEndpoint answers differently after the caller changed its own slices (-before +after):\n%s", diff)
	}

	other := e.world.endpoint(s, 1, 0, "eth1")
	e.apply(e.d, other) // makes a driver that renders the whole network do so
	e.must(e.d.RemoveEndpoint(e.ctx, other.Network, other.ID), "RemoveEndpoint")
	e.expect(built, "an endpoint came and went after the caller changed its slices")

	scratch = clone(s)
	want := []drivers.NetworkState{scratch}
	e.sync(e.d, want)
	scribble(&want[0])
	e.sync(e.d, []drivers.NetworkState{s})
	e.expect(built, "Sync after the caller changed what it passed to the Sync before")
}

func scribble(s *drivers.NetworkState) {
	for i := range s.Network.Subnets {
		s.Network.Subnets[i] = drivers.Subnet{}
	}
	for i := range s.Endpoints {
		for j := range s.Endpoints[i].Addrs {
			s.Endpoints[i].Addrs[j] = subnet("10.99.0.").Prefix
		}
		s.Endpoints[i] = drivers.Endpoint{}
	}
	for i := range s.Peers {
		for j := range s.Peers[i].Addrs {
			s.Peers[i].Addrs[j] = subnet("10.99.0.").Gateway
		}
		s.Peers[i] = drivers.Peer{}
	}
	for i := range s.Members {
		s.Members[i] = drivers.Member{}
	}
}

func checkParallel(e *env) {
	parallel := e.enough(16, 8) // endpoints that come up at once
	want := make([]drivers.NetworkState, 0, 2)
	for n := range 2 {
		if n == 1 && e.world.info.Singleton {
			break
		}
		s := e.world.network(n)
		for i := range parallel / 2 {
			s.Endpoints = append(s.Endpoints, e.world.endpoint(s, i, i%2, ifname(n, i)))
		}
		want = append(want, e.world.adapt(s))
	}
	for _, s := range want {
		e.must(e.d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork(%s)", s.Network.Name)
	}
	empty := e.host.Dump()
	e.inParallel(want, func(ep drivers.Endpoint) error {
		_, err := e.d.ApplyEndpoint(e.ctx, ep)
		return err
	})
	full := e.host.Dump()
	e.sync(e.d, want)
	e.expect(full, "Sync after %d ApplyEndpoint at once", parallel)
	if drift := e.check(want); len(drift) > 0 {
		e.Errorf("drift after %d ApplyEndpoint at once: %s", parallel, list(drift))
	}
	e.inParallel(want, func(ep drivers.Endpoint) error {
		if _, err := e.d.Check(e.ctx, want); err != nil { // reads while others write
			return err
		}
		return e.d.RemoveEndpoint(e.ctx, ep.Network, ep.ID)
	})
	e.expect(empty, "%d RemoveEndpoint at once", parallel)
}

// ifname gives the i-th endpoint of the n-th network a name that is free in its sandbox.
func ifname(n, i int) string { return "eth" + string(rune('0'+n)) + string(rune('a'+i)) }

// inParallel calls fn for every endpoint at the same time.
func (e *env) inParallel(want []drivers.NetworkState, fn func(drivers.Endpoint) error) {
	e.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs []error
	for _, s := range want {
		for _, ep := range s.Endpoints {
			wg.Go(func() {
				if err := fn(ep); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
	}
	wg.Wait()
	for _, err := range errs {
		e.Errorf("in parallel: %v", err)
	}
}

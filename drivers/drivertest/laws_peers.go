package drivertest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
)

func peerLaws() []law {
	return []law{
		{
			name:  "peers/deltas",
			why:   "deltas, in whatever portions, end in the same state as one full update with their result",
			check: onlyWithPeers(checkDeltas),
		},
		{
			name:  "peers/generations",
			why:   "watches may deliver late: an older claim or delete never replaces or removes a newer peer, and the newest claim to an address has it, whatever the order of arrival",
			check: onlyWithPeers(checkGenerations),
		},
		{
			name:  "peers/local claims",
			why:   "an address may move between this node and another: the newest claim has it, a local endpoint's like a peer's, and of equal ones the local endpoint's",
			check: onlyWithPeers(checkLocalClaims),
		},
		{
			name:  "peers/full",
			why:   "a full update is complete: a peer not in it is gone",
			check: onlyWithPeers(checkFull),
		},
		{
			name:  "peers/refused",
			why:   "one peer that can never be reached is left out, named and ErrInvalid; it does not keep the others from being reached",
			check: onlyWithPeers(checkRefused),
		},
	}
}

// onlyWithPeers is for laws that say nothing of drivers without peers.
func onlyWithPeers(check func(*env)) func(*env) {
	return func(e *env) {
		if !e.world.peer {
			e.Skip("the driver has no peers")
		}
		check(e)
	}
}

// older reports whether some peer's generation goes back from have to next.
func older(next, have []drivers.Peer) bool {
	for _, n := range next {
		for _, h := range have {
			if n.Endpoint == h.Endpoint && n.Generation < h.Generation {
				return true
			}
		}
	}
	return false
}

// delta is the update that leads from the peers have to those of the state.
func delta(have []drivers.Peer, to drivers.NetworkState) drivers.PeerUpdate {
	u := drivers.PeerUpdate{Set: to.Peers, Members: to.Members}
	for _, p := range have {
		if !slices.ContainsFunc(to.Peers, func(n drivers.Peer) bool { return n.Endpoint == p.Endpoint }) {
			u.Del = append(u.Del, drivers.PeerRef{Endpoint: p.Endpoint, Generation: p.Generation})
		}
	}
	return u
}

// peerModel is what the peers of a network should be, by the rules of drivers.PeerUpdate.
type peerModel map[drivers.EndpointID]drivers.Peer

func (m peerModel) set(p drivers.Peer) {
	if have, ok := m[p.Endpoint]; !ok || p.Generation >= have.Generation {
		m[p.Endpoint] = p
	}
}

func (m peerModel) del(r drivers.PeerRef) {
	if have, ok := m[r.Endpoint]; ok && r.Generation >= have.Generation {
		delete(m, r.Endpoint)
	}
}

// list is the peers in a fixed order.
func (m peerModel) list() []drivers.Peer {
	return slices.SortedFunc(maps.Values(m), func(a, b drivers.Peer) int {
		return strings.Compare(string(a.Endpoint), string(b.Endpoint))
	})
}

// applyPeers sends one update to e's driver.
func (e *env) applyPeers(s drivers.NetworkState, u drivers.PeerUpdate) {
	e.Helper()
	p, _ := e.peers(e.d)
	e.must(p.ApplyPeers(e.ctx, s.Network.ID, u), "ApplyPeers(full %t, %d set, %d deleted)", u.Full, len(u.Set), len(u.Del))
}

// beside puts another network on the host, so that the one of the law is not the last to go, and returns it for a Sync.
func (e *env) beside() []drivers.NetworkState {
	e.Helper()
	if e.world.info.Singleton {
		return nil
	}
	other := e.world.adapt(e.world.network(1))
	e.must(e.d.ApplyNetwork(e.ctx, other.Network), "ApplyNetwork(%s)", other.Network.Name)
	return []drivers.NetworkState{other}
}

// fullDump is the host's dump after one full update of a fresh network.
func (e *env) fullDump(s drivers.NetworkState, peers []drivers.Peer) string {
	e.Helper()
	e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
	s.Peers = peers
	e.build(e.d, s)
	return e.host.Dump()
}

// checkDeltas keeps changing a few peers at random, each time deleting one and setting others, and compares with one
// full update now and then.
func checkDeltas(e *env) {
	const rounds, portions = 2, 6
	e.beside()
	s := e.world.single()
	s.Peers = nil
	e.build(e.d, s)
	model := peerModel{}
	generation := uint64(0)
	for round := range rounds {
		for range portions {
			u := drivers.PeerUpdate{Members: s.Members}
			if have := model.list(); len(have) > 0 {
				gone := have[e.rnd.IntN(len(have))]
				u.Del = []drivers.PeerRef{{Endpoint: gone.Endpoint, Generation: gone.Generation}}
			}
			for _, i := range e.rnd.Perm(6)[:3] {
				generation++
				p := e.adaptPeer(s, e.world.peerOf(s, i, 100+e.rnd.IntN(4), e.rnd.IntN(2), generation))
				if len(u.Del) == 0 || p.Endpoint != u.Del[0].Endpoint { // one update says one thing of a peer
					u.Set = append(u.Set, p)
				}
			}
			for _, p := range u.Set {
				model.set(p)
			}
			for _, r := range u.Del {
				model.del(r)
			}
			e.applyPeers(s, u)
		}
		have := e.host.Dump()
		want := e.fullDump(s, model.list())
		if diff := lineDiff(want, have); diff != "" {
			e.Fatalf("round %d: deltas and a full update differ (-full +deltas):\n%s", round, diff)
		}
	}
}

// adaptPeer fits one peer as Host.Adapt would fit it within its network.
func (e *env) adaptPeer(s drivers.NetworkState, p drivers.Peer) drivers.Peer {
	s = clone(s)
	s.Peers = []drivers.Peer{p}
	return e.world.adapt(s).Peers[0]
}

// arrival is one event of a watch.
type arrival struct {
	set drivers.Peer
	del drivers.PeerRef
}

func set(p drivers.Peer) arrival { return arrival{set: p} }

// del is the deletion of this very generation of a peer.
func del(p drivers.Peer) arrival {
	return arrival{del: drivers.PeerRef{Endpoint: p.Endpoint, Generation: p.Generation}}
}

func (a arrival) String() string {
	if a.set.Endpoint == "" {
		return fmt.Sprintf("del %.4s@%d", a.del.Endpoint, a.del.Generation)
	}
	return fmt.Sprintf("set %.4s@%d", a.set.Endpoint, a.set.Generation)
}

func (a arrival) update(m []drivers.Member) drivers.PeerUpdate {
	if a.set.Endpoint == "" {
		return drivers.PeerUpdate{Del: []drivers.PeerRef{a.del}, Members: m}
	}
	return drivers.PeerUpdate{Set: []drivers.Peer{a.set}, Members: m}
}

func checkGenerations(e *env) {
	e.beside()
	s := e.world.single()
	s.Peers, s.Members = nil, e.world.adapt(drivers.NetworkState{Network: s.Network, Members: members(0, 1, 2)}).Members
	peer := func(i, host, node int, generation uint64) drivers.Peer {
		return e.adaptPeer(s, e.world.peerOf(s, i, host, node, generation))
	}
	first, moved := peer(0, 100, 0, 1), peer(0, 100, 1, 3)
	heir := peer(1, 100, 2, 5) // the address of the first, given to another endpoint later
	for _, c := range []struct {
		name   string
		events []arrival
		want   []drivers.Peer
	}{
		{"a peer moves, its old place is deleted late", []arrival{set(first), del(first), set(moved)}, []drivers.Peer{moved}},
		{"two endpoints claim one address", []arrival{set(moved), set(heir)}, []drivers.Peer{moved, heir}},
		{"an address changes hands, the delete of an older claim is late",
			[]arrival{set(moved), del(first), set(heir), set(first)}, []drivers.Peer{moved, heir}},
	} {
		want := e.fullDump(s, c.want)
		orders := slices.Collect(permutations(c.events))
		for _, i := range e.rnd.Perm(len(orders))[:min(len(orders), e.enough(8, 3))] {
			order := orders[i]
			e.applyPeers(s, drivers.PeerUpdate{Full: true, Members: s.Members})
			for _, a := range order {
				e.applyPeers(s, a.update(s.Members))
			}
			e.expect(want, "%s, arriving as %v", c.name, order)
		}
	}

	// The loser of an address leaves; the winner keeps it. The winner leaves; the one left has it again.
	for _, leaves := range []struct{ who, stays drivers.Peer }{{moved, heir}, {heir, moved}} {
		want := e.fullDump(s, []drivers.Peer{leaves.stays})
		e.fullDump(s, []drivers.Peer{moved, heir})
		e.applyPeers(s, del(leaves.who).update(s.Members))
		e.expect(want, "two claim one address, generation %d leaves", leaves.who.Generation)
	}
}

// checkLocalClaims lets an endpoint of this host and a peer claim the same addresses: the same rule decides. A peer that
// gets none of them leaves the host as one that asks for none.
func checkLocalClaims(e *env) {
	rest := e.beside()
	s := e.world.single()
	s.Peers, s.Members = nil, e.world.adapt(drivers.NetworkState{Network: s.Network, Members: members(0)}).Members
	ep := s.Endpoints[0]
	alone := e.fullDump(s, nil)
	for generation := ep.Generation - 1; generation <= ep.Generation+1; generation++ {
		peer := e.adaptPeer(s, e.world.peerOf(s, 0, 10, 0, generation))
		modest := peer
		modest.Addrs = nil
		lost := e.fullDump(s, []drivers.Peer{modest})
		peerFirst := e.fullDump(s, []drivers.Peer{peer})
		if wins := generation > ep.Generation; wins != (peerFirst != lost) {
			e.Errorf("endpoint with generation %d, peer with %d: the peer has the addresses: %t, want %t",
				ep.Generation, generation, !wins, wins)
		}
		e.must(e.d.RemoveNetwork(e.ctx, s.Network.ID), "RemoveNetwork")
		e.build(e.d, s)
		e.applyPeers(s, set(peer).update(s.Members))
		e.expect(peerFirst, "endpoint with generation %d before peer with %d", ep.Generation, generation)
		with := s
		with.Peers = []drivers.Peer{peer}
		e.sync(e.d, append(rest, with))
		e.expect(peerFirst, "Sync of endpoint with generation %d and peer with %d", ep.Generation, generation)
		e.applyPeers(s, del(peer).update(s.Members))
		e.expect(alone, "the peer with generation %d leaves", generation)
	}
}

// permutations yields every order of events.
func permutations(events []arrival) func(yield func([]arrival) bool) {
	return func(yield func([]arrival) bool) {
		var place func(done, rest []arrival) bool
		place = func(done, rest []arrival) bool {
			if len(rest) == 0 {
				return yield(done)
			}
			for i := range rest {
				left := slices.Concat(rest[:i], rest[i+1:])
				if !place(append(slices.Clone(done), rest[i]), left) {
					return false
				}
			}
			return true
		}
		place(nil, events)
	}
}

func checkFull(e *env) {
	e.beside()
	s := e.world.single()
	none := e.fullDump(s, nil)
	one := e.fullDump(s, s.Peers[:1])
	two := e.fullDump(s, s.Peers)
	if none == one || one == two {
		e.Fatalf("peers do not show in the dump:\n%s", two)
	}
	for _, c := range []struct {
		name  string
		peers []drivers.Peer
		want  string
	}{{"one left", s.Peers[:1], one}, {"both", s.Peers, two}, {"none", nil, none}} {
		e.applyPeers(s, drivers.PeerUpdate{Full: true, Set: c.peers, Members: s.Members})
		e.expect(c.want, "a full update, %s", c.name)
	}
}

// checkRefused mixes a peer that cannot be with one that can.
func checkRefused(e *env) {
	rest := e.beside()
	s := e.world.single()
	s.Peers = nil
	good := e.adaptPeer(s, e.world.peerOf(s, 0, 100, 0, 5))
	was := e.adaptPeer(s, e.world.peerOf(s, 1, 101, 1, 6))
	late := e.fullDump(s, []drivers.Peer{good, was})
	want := e.fullDump(s, []drivers.Peer{good})
	for _, c := range []struct {
		name  string
		spoil func(*drivers.Peer)
	}{
		{"no tunnel address", func(p *drivers.Peer) { p.VTEP = netip.Addr{} }},
		{"an address in no subnet", func(p *drivers.Peer) { p.Addrs = []netip.Addr{netip.MustParseAddr("203.0.113.7")} }},
	} {
		bad := was
		bad.Generation++
		c.spoil(&bad)
		refused := func(err error, format string, args ...any) {
			e.Helper()
			if what := fmt.Sprintf(format, args...); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), string(bad.Endpoint)) {
				e.Errorf("%s: %v, want ErrInvalid that names %s", what, err, bad.Endpoint)
			}
		}
		p, _ := e.peers(e.d)
		for _, full := range []bool{false, true} {
			e.applyPeers(s, drivers.PeerUpdate{Full: true, Set: []drivers.Peer{was}, Members: s.Members})
			u := drivers.PeerUpdate{Full: full, Set: []drivers.Peer{bad, good}, Members: s.Members}
			refused(p.ApplyPeers(e.ctx, s.Network.ID, u), "ApplyPeers(full %t) with %s", full, c.name)
			e.expect(want, "ApplyPeers(full %t) with a peer with %s", full, c.name)
		}
		with := s
		with.Peers = []drivers.Peer{bad, good}
		refused(e.d.Sync(e.ctx, append(rest, with)), "Sync with %s", c.name)
		e.expect(want, "Sync with a peer with %s", c.name)
		if drift := list(e.check(append(rest, with))); !strings.Contains(drift, string(bad.Endpoint)) {
			e.Errorf("Check does not name the peer with %s: %q", c.name, drift)
		}
		e.applyPeers(s, drivers.PeerUpdate{Full: true, Set: []drivers.Peer{was, good}, Members: s.Members})
		bad.Generation = was.Generation - 1
		refused(p.ApplyPeers(e.ctx, s.Network.ID, drivers.PeerUpdate{Full: true, Set: []drivers.Peer{bad, good}, Members: s.Members}), "late ApplyPeers with %s", c.name)
		e.expect(late, "a late peer with %s", c.name)
	}
}

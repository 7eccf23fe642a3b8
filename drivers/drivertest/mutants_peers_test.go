package drivertest

import (
	"context"
	"errors"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// peerMutants are the bugs that only a driver with peers can have.
var peerMutants = []bug{
	{"a late delete removes a newer peer", "peers/generations", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			for i := range u.Del {
				u.Del[i].Generation = 1 << 60
			}
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"a stale set replaces a newer peer", "peers/generations", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			if ctx.Err() == nil {
				m.rewrite(id, func(n *fakeNetwork) {
					for _, p := range u.Set {
						delete(n.peers, p.Endpoint)
					}
				})
			}
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"the last to arrive has the address", "peers/generations", func(m *mutant) {
		clock := uint64(1 << 40)
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			u.Set = cloneEach(u.Set, clonePeer)
			for i := range u.Set {
				clock++
				u.Set[i].Generation = clock
			}
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"a local endpoint always wins its address", "peers/local claims", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			if n := m.host.snapshot(m.key(id)); n != nil && !u.Full {
				u.Set = slices.DeleteFunc(slices.Clone(u.Set), func(p drivers.Peer) bool {
					for _, ep := range n.endpoints {
						if ep.spec.Addrs[0].Addr() == p.Addrs[0] {
							return true
						}
					}
					return false
				})
			}
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"a local endpoint wins over every peer, and always did", "peers/local claims", func(m *mutant) { m.age(1 << 60) }},
	{"a peer wins over every local endpoint, and always did", "peers/local claims", func(m *mutant) { m.age(0) }},
	{"a full update only adds", "peers/full", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			u.Full = false
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"refuses an update for one of its peers", "peers/refused", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			if n := m.host.snapshot(m.key(id)); n != nil && ctx.Err() == nil {
				for _, p := range u.Set {
					if err := n.admits(p); err != nil {
						return err
					}
				}
			}
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
	{"forgets to say which peer it left out", "peers/refused", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			if err := m.clusterFake.ApplyPeers(ctx, id, u); !errors.Is(err, drivers.ErrInvalid) {
				return err
			}
			return nil
		}
	}},
	{"a delta forgets its deletions", "peers/deltas", func(m *mutant) {
		m.applyPeers = func(m *mutant, ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
			u.Del = nil
			return m.clusterFake.ApplyPeers(ctx, id, u)
		}
	}},
}

// age makes the mutant take every local endpoint for one of this generation.
func (m *mutant) age(generation uint64) {
	aged := func(want []drivers.NetworkState) []drivers.NetworkState {
		want = cloneEach(want, clone)
		for _, s := range want {
			for i := range s.Endpoints {
				s.Endpoints[i].Generation = generation
			}
		}
		return want
	}
	m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
		ep.Generation = generation
		return m.clusterFake.ApplyEndpoint(ctx, ep)
	}
	m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
		return m.clusterFake.Sync(ctx, aged(want))
	}
	m.check = func(m *mutant, ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
		return m.clusterFake.Check(ctx, aged(want))
	}
}

package drivertest

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

// mutant is a fake with bugs: each hook that is set replaces or follows one of its methods.
type mutant struct {
	*clusterFake
	mu     sync.Mutex // guards memory
	memory map[drivers.NetworkID]drivers.NetworkState

	validate       func(*mutant, drivers.Network) error
	applyNetwork   func(*mutant, context.Context, drivers.Network) error
	removeNetwork  func(*mutant, context.Context, drivers.NetworkID) error
	applyEndpoint  func(*mutant, context.Context, drivers.Endpoint) (drivers.Attachment, error)
	removeEndpoint func(*mutant, context.Context, drivers.NetworkID, drivers.EndpointID) error
	applyPeers     func(*mutant, context.Context, drivers.NetworkID, drivers.PeerUpdate) error
	sync           func(*mutant, context.Context, []drivers.NetworkState) error
	check          func(*mutant, context.Context, []drivers.NetworkState) ([]drivers.Drift, error)
	close          func(*mutant) error
}

func (m *mutant) Validate(n drivers.Network) error {
	if m.validate != nil {
		return m.validate(m, n)
	}
	return m.clusterFake.Validate(n)
}

func (m *mutant) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if m.applyNetwork != nil {
		return m.applyNetwork(m, ctx, n)
	}
	return m.clusterFake.ApplyNetwork(ctx, n)
}

func (m *mutant) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	if m.removeNetwork != nil {
		return m.removeNetwork(m, ctx, id)
	}
	return m.clusterFake.RemoveNetwork(ctx, id)
}

func (m *mutant) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	if m.applyEndpoint != nil {
		return m.applyEndpoint(m, ctx, ep)
	}
	return m.clusterFake.ApplyEndpoint(ctx, ep)
}

func (m *mutant) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if m.removeEndpoint != nil {
		return m.removeEndpoint(m, ctx, n, ep)
	}
	return m.clusterFake.RemoveEndpoint(ctx, n, ep)
}

func (m *mutant) ApplyPeers(ctx context.Context, n drivers.NetworkID, u drivers.PeerUpdate) error {
	if m.applyPeers != nil {
		return m.applyPeers(m, ctx, n, u)
	}
	return m.clusterFake.ApplyPeers(ctx, n, u)
}

func (m *mutant) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if m.sync != nil {
		return m.sync(m, ctx, want)
	}
	return m.clusterFake.Sync(ctx, want)
}

func (m *mutant) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if m.check != nil {
		return m.check(m, ctx, want)
	}
	return m.clusterFake.Check(ctx, want)
}

func (m *mutant) Close() error {
	if m.close != nil {
		return m.close(m)
	}
	return m.clusterFake.Close()
}

// rewrite changes peers or endpoints of a network on the host directly.
func (m *mutant) rewrite(id drivers.NetworkID, fn func(*fakeNetwork)) { m.host.change(m.key(id), fn) }

// leaked is never closed before the process ends.
var leaked = make(chan struct{})

// bug is one that the suite must find, with the law that names it.
type bug struct {
	bug    string
	law    string
	mutate func(*mutant)
}

// mutants are the bugs of any driver.
var mutants = []bug{
	{"accepts unknown options", "validate/refuses", func(m *mutant) {
		m.validate = func(m *mutant, n drivers.Network) error {
			n.Options = nil
			return m.clusterFake.Validate(n)
		}
	}},
	{"accepts any MTU", "validate/refuses", func(m *mutant) {
		m.validate = func(m *mutant, n drivers.Network) error {
			n.MTU = 0
			return m.clusterFake.Validate(n)
		}
	}},
	{"Validate programs the host", "validate/pure", func(m *mutant) {
		m.validate = func(m *mutant, n drivers.Network) error {
			m.host.putNetwork(m.key(n.ID), n)
			return m.clusterFake.Validate(n)
		}
	}},
	{"Validate fills in a default", "validate/pure", func(m *mutant) {
		m.validate = func(_ *mutant, n drivers.Network) error {
			n.Subnets[0].Gateway = n.Subnets[0].Gateway.Next()
			return nil
		}
	}},
	{"a second ApplyEndpoint adds a second link", "apply/twice", func(m *mutant) {
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			m.rewrite(ep.Network, func(n *fakeNetwork) {
				if old, ok := n.endpoints[ep.ID]; ok {
					n.endpoints[ep.ID+"-old"] = old
				}
			})
			return m.clusterFake.ApplyEndpoint(ctx, ep)
		}
	}},
	{"ApplyEndpoint makes nothing", "apply/visible", func(m *mutant) {
		m.applyEndpoint = func(*mutant, context.Context, drivers.Endpoint) (drivers.Attachment, error) {
			return drivers.Attachment{}, nil
		}
	}},
	{"internal networks have a gateway", "apply/attachment", func(m *mutant) {
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			a, err := m.clusterFake.ApplyEndpoint(ctx, ep)
			n, _ := m.host.network(m.key(ep.Network))
			n.Internal = false
			return drivers.Attachment{Interface: a.Interface, Gateways: attachment(n, ep).Gateways}, err
		}
	}},
	{"keeps the caller's slice", "apply/values", func(m *mutant) {
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			a, err := m.clusterFake.ApplyEndpoint(ctx, ep)
			m.rewrite(ep.Network, func(n *fakeNetwork) { n.endpoints[ep.ID] = fakeEndpoint{spec: ep, attached: true} })
			return a, err
		}
	}},
	{"answers from the caller's slice", "apply/values", func(m *mutant) {
		kept := map[drivers.NetworkID]drivers.Network{}
		m.applyNetwork = func(m *mutant, ctx context.Context, n drivers.Network) error {
			kept[n.ID] = n
			return m.clusterFake.ApplyNetwork(ctx, n)
		}
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			if _, err := m.clusterFake.ApplyEndpoint(ctx, ep); err != nil {
				return drivers.Attachment{}, err
			}
			return attachment(kept[ep.Network], ep), nil
		}
	}},
	{"parallel calls overwrite each other", "apply/parallel", func(m *mutant) {
		busy := make(chan struct{}, 1)
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			select {
			case busy <- struct{}{}:
				defer func() { <-busy }()
				return m.clusterFake.ApplyEndpoint(ctx, ep)
			default: // somebody else is writing: this write is lost
				return drivers.Attachment{}, nil
			}
		}
		m.clusterFake.fault = func(string) error { // keeps a writer busy until another one has tried
			for range 50 {
				runtime.Gosched()
			}
			return nil
		}
	}},
	{"leaks the endpoint", "remove/all", func(m *mutant) {
		m.removeEndpoint = func(*mutant, context.Context, drivers.NetworkID, drivers.EndpointID) error { return nil }
		m.removeNetwork = func(m *mutant, ctx context.Context, id drivers.NetworkID) error {
			if n := m.host.snapshot(m.key(id)); n != nil && len(n.endpoints) > 0 {
				return nil
			}
			return m.clusterFake.RemoveNetwork(ctx, id)
		}
	}},
	{"removing the absent fails", "remove/absent", func(m *mutant) {
		m.removeNetwork = func(m *mutant, ctx context.Context, id drivers.NetworkID) error {
			if m.host.snapshot(m.key(id)) == nil {
				return drivers.ErrNotFound
			}
			return m.clusterFake.RemoveNetwork(ctx, id)
		}
	}},
	{"refuses to remove a network in use", "remove/network with endpoints", func(m *mutant) {
		m.removeNetwork = func(m *mutant, ctx context.Context, id drivers.NetworkID) error {
			if n := m.host.snapshot(m.key(id)); n != nil && len(n.endpoints) > 0 {
				return drivers.ErrInUse
			}
			return m.clusterFake.RemoveNetwork(ctx, id)
		}
	}},
	{"Sync keeps orphans", "sync/orphans", func(m *mutant) {
		m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
			wanted := wantedNetworks(want)
			for id, n := range m.memory {
				if _, ok := wanted[id]; !ok {
					if err := m.clusterFake.RemoveNetwork(ctx, n.Network.ID); err != nil {
						return err
					}
				}
			}
			m.memory = map[drivers.NetworkID]drivers.NetworkState{}
			for _, s := range want {
				m.memory[s.Network.ID] = s
				if err := m.syncNetwork(ctx, wanted[s.Network.ID]); err != nil {
					return err
				}
			}
			return nil
		}
	}},
	{"Sync does not move an endpoint", "sync/walk", func(m *mutant) {
		m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
			kept := cloneEach(want, clone)
			for i, s := range kept {
				have := m.host.snapshot(m.key(s.Network.ID))
				for j, ep := range s.Endpoints {
					if have != nil && have.endpoints[ep.ID].spec.NetNS != "" {
						kept[i].Endpoints[j].NetNS = have.endpoints[ep.ID].spec.NetNS
					}
				}
			}
			return m.clusterFake.Sync(ctx, kept)
		}
	}},
	{"Sync deletes everything it does not know", "sync/bystanders", func(m *mutant) {
		m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
			if err := m.clusterFake.Sync(ctx, want); err != nil {
				return err
			}
			m.host.deleteNetwork(fakeKey{"other", "0"})
			return nil
		}
	}},
	{"Sync believes its memory", "sync/crash", func(m *mutant) {
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			a, err := m.clusterFake.ApplyEndpoint(ctx, ep)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.memory[ep.Network] = drivers.NetworkState{}
			return a, err
		}
		m.removeNetwork = func(m *mutant, ctx context.Context, id drivers.NetworkID) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if _, ok := m.memory[id]; !ok && m.host.snapshot(m.key(id)) != nil {
				return nil // not mine, as far as I remember
			}
			delete(m.memory, id)
			return m.clusterFake.RemoveNetwork(ctx, id)
		}
	}},
	{"Check sees nothing", "check/agrees", func(m *mutant) {
		m.check = func(_ *mutant, ctx context.Context, _ []drivers.NetworkState) ([]drivers.Drift, error) {
			return nil, ctx.Err()
		}
	}},
	{"Check repairs", "check/damage", func(m *mutant) {
		m.check = func(m *mutant, ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
			drift, err := m.clusterFake.Check(ctx, want)
			if err == nil {
				err = m.clusterFake.Sync(ctx, want)
			}
			return drift, err
		}
	}},
	{"Check does not look at endpoints", "check/damage", func(m *mutant) {
		m.check = func(m *mutant, ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
			drift, err := m.clusterFake.Check(ctx, want)
			return slices.DeleteFunc(drift, func(d drivers.Drift) bool {
				return d.Endpoint != "" || strings.HasPrefix(d.Object, "forward")
			}), err
		}
	}},
	{"Check's drift has no object", "check/agrees", func(m *mutant) {
		m.check = func(m *mutant, ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
			drift, err := m.clusterFake.Check(ctx, want)
			for i := range drift {
				drift[i].Object = ""
			}
			return drift, err
		}
	}},
	{"ignores its context", "context/cancelled", func(m *mutant) {
		m.applyNetwork = func(m *mutant, ctx context.Context, n drivers.Network) error {
			return m.clusterFake.ApplyNetwork(context.WithoutCancel(ctx), n)
		}
	}},
	{"an interrupted Sync reports success", "context/sync interrupted", func(m *mutant) {
		m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
			if err := m.clusterFake.Sync(ctx, want); err != nil && m.closed.Load() {
				return err
			}
			return nil
		}
	}},
	{"an interrupted ApplyEndpoint cannot be repeated", "context/apply interrupted", func(m *mutant) {
		m.applyEndpoint = func(m *mutant, ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
			n := m.host.snapshot(m.key(ep.Network))
			if n != nil && n.endpoints[ep.ID].spec.ID != "" && !n.endpoints[ep.ID].attached {
				return drivers.Attachment{}, drivers.ErrExists
			}
			return m.clusterFake.ApplyEndpoint(ctx, ep)
		}
	}},
	{"Close tears down", "close/data plane", func(m *mutant) {
		m.close = func(m *mutant) error {
			for _, id := range m.host.networkIDs(m.info.Name) {
				m.host.deleteNetwork(m.key(id))
			}
			return m.clusterFake.Close()
		}
	}},
	{"works on after Close", "close/later calls", func(m *mutant) {
		m.removeEndpoint = func(m *mutant, ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
			if ctx.Err() == nil {
				m.host.deleteEndpoint(m.key(n), ep)
			}
			return ctx.Err()
		}
	}},
	{"leaves a goroutine", "close/goroutines", func(m *mutant) {
		m.applyNetwork = func(m *mutant, ctx context.Context, n drivers.Network) error {
			go func() { <-leaked }()
			return m.clusterFake.ApplyNetwork(ctx, n)
		}
	}},
	{"Info follows the state", "info", func(m *mutant) {
		m.sync = func(m *mutant, ctx context.Context, want []drivers.NetworkState) error {
			m.info.Singleton = len(want) > 0
			return m.clusterFake.Sync(ctx, want)
		}
	}},
}

// TestSuiteFindsBugs holds every law against every mutant: the law meant for it must fail, and every law must pass on
// the driver without bugs.
func TestSuiteFindsBugs(t *testing.T) {
	all := laws()
	covered := map[string]bool{}
	for _, c := range slices.Concat(mutants, peerMutants) {
		covered[c.law] = true
		t.Run(c.bug, func(t *testing.T) {
			i := slices.IndexFunc(all, func(l law) bool { return l.name == c.law })
			if i < 0 {
				t.Fatalf("no law %q", c.law)
			}
			r := record(t.Context(), all[i], fakeRig(clusterInfo, func(cfg FakeConfig) drivers.Driver {
				m := &mutant{clusterFake: NewFake(cfg).(*clusterFake), memory: map[drivers.NetworkID]drivers.NetworkState{}}
				c.mutate(m)
				return m
			}))
			if !r.failed {
				t.Errorf("law %s passed", c.law)
			}
			if !strings.Contains(r.String(), all[i].why) {
				t.Errorf("the failure does not explain the law:\n%s", r)
			}
			t.Logf("%s", r)
		})
	}
	for _, l := range all {
		if r := record(t.Context(), l, fakeRig(clusterInfo, NewFake)); r.failed || r.skipped {
			t.Errorf("law %s on the fake without bugs:\n%s", l.name, r)
		}
		if !covered[l.name] && l.name != "remove/sandbox gone" {
			t.Errorf("law %s has no mutant", l.name)
		}
	}
}

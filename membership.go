package libcnm

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// followRetry is the pause before a driver is told again what it could not apply.
const followRetry = time.Second

// membership follows the endpoints of one network on other nodes while an endpoint of it is joined here, and keeps the
// driver told. One goroutine reads the watch and merges what changed; another tells the driver, so that a slow driver
// delays no reading and is told a burst at once.
type membership struct {
	c      *NetworkController
	n      *Network
	driver drivers.PeerApplier
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	ready  chan error // what came of telling the driver for the first time

	mu      sync.Mutex // guards everything below
	known   map[drivers.EndpointID]remote
	changed map[drivers.EndpointID]store.Rev // to be told; the revision of the change
	full    bool                             // tell everything
	rev     store.Rev                        // what has been read
	wake    chan struct{}                    // buffered, one is enough
}

// remote is an endpoint that is joined somewhere.
type remote struct {
	ep  *endpointRecord
	rev store.Rev
}

func newMembership(c *NetworkController, n *Network) *membership {
	applier, _ := drivers.As[drivers.PeerApplier](n.host.Driver)
	return &membership{
		c: c, n: n, driver: applier, ready: make(chan error, 1),
		known: make(map[drivers.EndpointID]remote), changed: make(map[drivers.EndpointID]store.Rev),
		wake: make(chan struct{}, 1),
	}
}

// load reads the endpoints and the nodes, so that snapshot knows the peers.
func (m *membership) load(ctx context.Context) error {
	if err := m.c.peers.start(ctx, m.c); err != nil {
		return err
	}
	return m.list(ctx)
}

// start follows the endpoints from where load has read them, and returns when the driver has been told of all of them. If
// the driver refuses them it is told again and again, until close.
//
//nolint:contextcheck // what follows the endpoints outlives this call
func (m *membership) start(ctx context.Context) error {
	background, cancel := context.WithCancel(m.c.background)
	m.cancel = cancel
	m.c.peers.subscribe(m)
	m.tasks.Go(func() { m.follow(background) })
	m.tasks.Go(func() { m.tell(background) })
	select {
	case err := <-m.ready:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the goroutines.
func (m *membership) close() {
	if m.cancel == nil {
		return
	}
	m.c.peers.unsubscribe(m)
	m.cancel()
	m.tasks.Wait()
}

// list replaces what is known by what the store has.
func (m *membership) list(ctx context.Context) error {
	raws, rev, err := m.n.store().List(ctx, dirEndpoints(m.n.rec.ID))
	if err != nil {
		return err
	}
	known := make(map[drivers.EndpointID]remote)
	for _, raw := range raws {
		if ep := m.read(raw); ep != nil {
			known[ep.ID] = remote{ep: ep, rev: raw.Rev}
		}
	}
	m.mu.Lock()
	m.known, m.rev = known, rev
	m.lockedAll()
	m.mu.Unlock()
	for _, id := range m.c.state.endpointsIn(m.n.rec.ID) {
		if r, still := known[id]; still {
			m.evict(id, r.ep, r.rev)
		} else {
			m.evict(id, nil, rev)
		}
	}
	return nil
}

// follow reads changes until ctx ends.
func (m *membership) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		m.c.log.Info("endpoints of a network are read anew", "network", m.n.rec.Name, "cause", err)
		if err := m.list(ctx); err != nil && ctx.Err() == nil {
			m.c.log.Warn("endpoints of a network could not be read", "network", m.n.rec.Name, "error", err)
			pause(ctx, followRetry)
		}
	}
}

// read decodes an endpoint. One record that cannot be read must not keep the node from the others.
func (m *membership) read(raw store.Record) *endpointRecord {
	s, err := m.n.decodeEndpoint(raw)
	if err != nil {
		m.c.log.Error("endpoint of another node is ignored", "network", m.n.rec.Name, "error", err)
		return nil
	}
	return &s.value
}

// watch takes events until there are no more.
func (m *membership) watch(ctx context.Context) error {
	m.mu.Lock()
	after := m.rev
	m.mu.Unlock()
	for ev, err := range m.n.store().Watch(ctx, dirEndpoints(m.n.rec.ID), after) {
		if err != nil {
			return err
		}
		m.take(ev)
	}
	return errors.New("watch ended")
}

// take merges one event.
func (m *membership) take(ev store.Event) {
	if ev.Key == "" {
		m.mu.Lock()
		m.rev = ev.Rev
		m.mu.Unlock()
		return
	}
	id := drivers.EndpointID(path.Base(ev.Key))
	var next *endpointRecord
	if !ev.Deleted {
		if next = m.read(ev.Record); next == nil {
			return
		}
	}
	m.mu.Lock()
	if next == nil {
		delete(m.known, id)
	} else {
		m.known[id] = remote{ep: next, rev: ev.Rev}
	}
	m.rev = ev.Rev
	m.changed[id] = ev.Rev
	m.lockedSignal()
	m.mu.Unlock()
	m.evict(id, next, ev.Rev)
}

// evict asks for the removal of an endpoint from its sandbox here when the store says, at a revision later than that of
// the join, that it is not joined here: it was deleted by force elsewhere. ep is nil for one that is gone.
func (m *membership) evict(id drivers.EndpointID, ep *endpointRecord, rev store.Rev) {
	a, seen := m.c.state.attached(id)
	if a == nil || seen.rev == 0 || rev <= seen.rev {
		return
	}
	if ep != nil && ep.Join != nil && ep.Join.Node == m.c.node.Name && ep.Join.Sandbox == seen.sandbox.rec.ID {
		return
	}
	m.c.state.markLost(a)
	select {
	case m.c.lost <- struct{}{}:
	default:
	}
}

// lockedAll makes the driver be told everything.
func (m *membership) lockedAll() {
	m.full = true
	clear(m.changed)
	m.lockedSignal()
}

func (m *membership) lockedSignal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// refresh makes the driver be told everything: the address of a node has changed.
func (m *membership) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lockedAll()
}

// tell keeps the driver told until ctx ends.
func (m *membership) tell(ctx context.Context) {
	first := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		err := m.tellOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if first {
			m.ready <- err
			first = false
		}
		if err != nil {
			m.c.log.Warn("peers could not be applied", "network", m.n.rec.Name, "error", err)
			pause(ctx, followRetry)
			m.refresh()
		}
	}
}

func (m *membership) tellOnce(ctx context.Context) error {
	if err := m.n.host.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer m.n.host.gate.Release(1)
	update, any := m.update()
	if !any {
		return nil
	}
	return m.driver.ApplyPeers(ctx, m.n.rec.ID, update)
}

// update takes what is to be told.
func (m *membership) update() (u drivers.PeerUpdate, any bool) {
	nodes := m.c.peers.nodes()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.full && len(m.changed) == 0 {
		return u, false
	}
	u.Members = m.lockedMembers(nodes)
	if m.full {
		u.Full, u.Set = true, m.lockedPeers(nodes)
	} else {
		for id, rev := range m.changed {
			if p, ok := m.peer(m.known[id], nodes); ok {
				u.Set = append(u.Set, p)
			} else {
				u.Del = append(u.Del, drivers.PeerRef{Endpoint: id, Generation: uint64(rev)})
			}
		}
	}
	m.full = false
	clear(m.changed)
	return u, true
}

// snapshot returns all peers and members, for a Sync.
func (m *membership) snapshot() ([]drivers.Peer, []drivers.Member) {
	nodes := m.c.peers.nodes()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lockedPeers(nodes), m.lockedMembers(nodes)
}

func (m *membership) lockedPeers(nodes map[string]nodeRecord) []drivers.Peer {
	var list []drivers.Peer
	for _, id := range slices.Sorted(maps.Keys(m.known)) {
		if p, ok := m.peer(m.known[id], nodes); ok {
			list = append(list, p)
		}
	}
	return list
}

func (m *membership) lockedMembers(nodes map[string]nodeRecord) []drivers.Member {
	seen := make(map[string]drivers.Member)
	for _, r := range m.known {
		if r.ep.Join == nil || r.ep.Join.Node == m.c.node.Name {
			continue
		}
		if node, ok := nodes[r.ep.Join.Node]; ok {
			seen[node.Name] = drivers.Member{Node: node.Name, VTEP: node.VTEP, MTU: node.MTU}
		}
	}
	list := make([]drivers.Member, 0, len(seen))
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		list = append(list, seen[name])
	}
	return list
}

// peer turns an endpoint into what the driver is told of it; false for one that is not joined on a live other node.
func (m *membership) peer(r remote, nodes map[string]nodeRecord) (drivers.Peer, bool) {
	if r.ep == nil || r.ep.Join == nil || r.ep.Join.Node == m.c.node.Name {
		return drivers.Peer{}, false
	}
	node, ok := nodes[r.ep.Join.Node]
	if !ok || !node.VTEP.IsValid() {
		return drivers.Peer{}, false
	}
	return drivers.Peer{
		Endpoint: r.ep.ID, MAC: r.ep.MAC, Addrs: r.ep.addresses(), VTEP: node.VTEP, Generation: uint64(r.rev),
	}, true
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

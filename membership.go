package libcnm

import (
	"context"
	"errors"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// followRetry is the pause before a driver is told again what it could not apply.
const followRetry = time.Second

// membership follows the endpoints of one network of the cluster while an endpoint of it is joined here. It notices when
// another node takes one of this host's away, and keeps the driver told of those on other nodes. One goroutine reads the
// watch and merges what changed; another tells the driver, so that a slow driver delays no reading and is told a burst at
// once.
type membership struct {
	c      *NetworkController
	n      *Network
	driver drivers.PeerApplier // nil: it wants to know of none
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	ready  chan error // what came of telling the driver for the first time

	mu      sync.Mutex // guards everything below
	known   roster
	members []drivers.Member                 // the last that were made up; nil: they may be others now
	changed map[drivers.EndpointID]store.Rev // to be told; the revision of the change
	full    bool                             // tell everything
	rev     store.Rev                        // what has been read
	wake    chan struct{}                    // buffered, one is enough
}

func newMembership(c *NetworkController, n *Network) *membership {
	applier, _ := drivers.As[drivers.PeerApplier](n.host.Driver)
	return &membership{
		c: c, n: n, driver: applier, ready: make(chan error, 1),
		known: newRoster(), changed: make(map[drivers.EndpointID]store.Rev), wake: make(chan struct{}, 1),
	}
}

// start follows the endpoints from where list has read them, and returns when the driver has been told of all of them. If
// that fails it is told again and again, until close.
//
//nolint:contextcheck // what follows the endpoints outlives this call
func (m *membership) start(ctx context.Context) error {
	background, cancel := context.WithCancel(m.c.background)
	m.cancel = cancel
	m.tasks.Go(func() { m.follow(background) })
	if m.driver == nil {
		return nil
	}
	m.c.peers.subscribe(m)
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

// list replaces what is known by what the store has. After the first, snapshot knows the peers.
func (m *membership) list(ctx context.Context) error {
	l, err := m.n.listEndpoints(ctx)
	if err != nil {
		return err
	}
	m.learn(l)
	return nil
}

// learn replaces what is known by a listing.
func (m *membership) learn(l listing) {
	known := newRoster()
	for _, s := range l.endpoints {
		known.set(s.value.ID, remoteOf(s))
	}
	doubtful := make(map[drivers.EndpointID]bool)
	m.mu.Lock()
	for _, key := range l.unreadable {
		id := drivers.EndpointID(path.Base(key))
		doubtful[id] = true
		if before, ok := m.known.byID[id]; ok { // remains what it was
			known.set(id, before)
		}
	}
	m.known, m.rev = known, l.rev
	m.lockedAll()
	m.mu.Unlock()
	for _, id := range m.c.state.endpointsIn(m.n.rec.ID) {
		r, still := known.byID[id]
		switch {
		case doubtful[id]:
		case still:
			m.evict(id, r.ep, r.rev)
		default:
			m.evict(id, nil, l.rev)
		}
	}
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
	next := remote{rev: ev.Rev}
	if !ev.Deleted {
		s, err := m.n.decodeEndpoint(ev.Record)
		if err != nil {
			m.c.unreadableShared.note(ev.Key, err)
			return
		}
		next = remoteOf(s)
	}
	m.c.unreadableShared.forget(ev.Key)
	id := drivers.EndpointID(path.Base(ev.Key))
	m.mu.Lock()
	m.lockedTake(id, next)
	m.mu.Unlock()
	m.evict(id, next.ep, ev.Rev)
}

// lockedTake notes what became of an endpoint. The driver is told if it was a peer or is one now.
func (m *membership) lockedTake(id drivers.EndpointID, next remote) {
	before, moved := m.known.set(id, next)
	if moved {
		m.members = nil
	}
	m.rev = next.rev
	if m.elsewhere(before) || m.elsewhere(next) {
		m.changed[id] = next.rev
		signal(m.wake)
	}
}

// elsewhere reports whether the endpoint is joined on another node.
func (m *membership) elsewhere(r remote) bool {
	node := r.joinedOn()
	return node != "" && node != m.c.node.Name
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
	signal(m.c.lost)
}

// lockedAll makes the driver be told everything, made up anew.
func (m *membership) lockedAll() {
	m.full, m.members = true, nil
	clear(m.changed)
	signal(m.wake)
}

// refresh makes the driver be told everything.
func (m *membership) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lockedAll()
}

// nodesChanged makes the driver be told everything if an endpoint is on one of these nodes, which are elsewhere now.
func (m *membership) nodesChanged(nodes []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(nodes, func(node string) bool { return m.known.on[node] > 0 }) {
		m.lockedAll()
	}
}

// signal wakes who waits for ch, which has room for one: it is woken once for what happens until it looks.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

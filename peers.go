package libcnm

import (
	"context"
	"errors"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// tell keeps the driver told until ctx ends. What it refuses for good is said once, and shown by Check from then on.
func (m *membership) tell(ctx context.Context) {
	first, refused := true, ""
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
		if final(err) {
			if text := err.Error(); text != refused {
				m.c.log.Warn("peers cannot be reached from this node", "network", m.n.rec.Name, "error", err)
				refused = text
			}
			err = nil
		}
		if first {
			m.ready <- err
			first = false
		}
		if err != nil {
			m.c.log.Warn("peers could not be applied", "network", m.n.rec.Name, "error", err)
			pause(ctx, followRetry)
		}
	}
}

// final reports whether a driver has done what it was told but for what can never be, as ApplyPeers and Sync do.
func final(err error) bool {
	for _, passing := range []error{ErrUnavailable, ErrConflict, ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, passing) {
			return false
		}
	}
	return errors.Is(err, ErrInvalid)
}

func (m *membership) tellOnce(ctx context.Context) error {
	if err := m.n.host.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer m.n.host.gate.Release(1)
	return m.tellNow(ctx)
}

// tellNow is tellOnce for a holder of the gate. After a failure, unless it is for good, everything is to be told again.
func (m *membership) tellNow(ctx context.Context) error {
	if !m.c.state.fits(m.n.host) {
		return nil // told when its first Sync has gone well
	}
	update, any := m.update()
	if !any {
		return nil
	}
	err := m.driver.ApplyPeers(ctx, m.n.rec.ID, update)
	if err != nil && !final(err) {
		m.refresh()
	}
	return err
}

// tellAll tells a driver the news that it is about to be told, so that they are not taken for differences. It is for the
// holder of the whole gate.
func (c *NetworkController) tellAll(ctx context.Context, h *driverHost) {
	for _, active := range c.state.activeNetworks() {
		m := active.members
		if m == nil || m.driver == nil || active.host != h {
			continue
		}
		if err := m.tellNow(ctx); err != nil {
			c.log.Debug("peers are left to be told of", "network", active.rec.Name, "error", err)
		}
	}
}

// update takes what is to be told.
func (m *membership) update() (u drivers.PeerUpdate, any bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.full && len(m.changed) == 0 {
		return u, false
	}
	u.Members = m.lockedMembers()
	if m.full {
		u.Full, u.Set = true, m.lockedPeers()
	} else {
		for id, rev := range m.changed {
			if p, ok := m.peer(m.known.byID[id]); ok {
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
	if m.driver == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lockedPeers(), m.lockedMembers()
}

func (m *membership) lockedPeers() []drivers.Peer {
	var list []drivers.Peer
	for _, id := range m.known.ids() {
		if p, ok := m.peer(m.known.byID[id]); ok {
			list = append(list, p)
		}
	}
	return list
}

// lockedMembers makes up who the members are if an endpoint or a node may have changed that since the last time.
func (m *membership) lockedMembers() []drivers.Member {
	if m.members == nil {
		m.members = make([]drivers.Member, 0, len(m.known.on))
		for _, name := range m.known.nodes() {
			if name == m.c.node.Name {
				continue
			}
			if node, ok := m.c.peers.reachable(name); ok {
				m.members = append(m.members, drivers.Member{Node: node.Name, VTEP: node.VTEP, MTU: node.MTU})
			}
		}
	}
	return slices.Clone(m.members)
}

// peer turns an endpoint into what the driver is told of it; false for one that is not joined on another node that can be sent to.
func (m *membership) peer(r remote) (drivers.Peer, bool) {
	if !m.elsewhere(r) {
		return drivers.Peer{}, false
	}
	node, ok := m.c.peers.reachable(r.joinedOn())
	if !ok {
		return drivers.Peer{}, false
	}
	return drivers.Peer{
		Endpoint: r.ep.ID, MAC: r.ep.MAC, Addrs: r.ep.addresses(), VTEP: node.VTEP, Generation: uint64(r.rev),
	}, true
}

package libcnm

import (
	"context"
	"errors"

	"github.com/libcnm/libcnm/drivers"
)

// activate makes the network exist on this host and, if other nodes may be in it, its peers reachable. It is for the
// holder of the network's turn, and does nothing when it has been done.
func (c *NetworkController) activate(ctx context.Context, n *Network) error {
	c.state.mu.Lock()
	known := c.state.networks[n.rec.ID] != nil
	c.state.mu.Unlock()
	if known {
		return nil
	}
	if err := c.markUsed(ctx, n.host); err != nil {
		return err
	}
	active := &activeNetwork{rec: n.rec, host: n.host}
	if c.spansNodes(n.host) {
		active.members = newMembership(c, n)
	}
	err := c.applyNetwork(ctx, active)
	if err == nil && active.members != nil {
		if err = active.members.list(ctx); err == nil {
			err = active.members.start(ctx)
		}
	}
	if err != nil {
		return errors.Join(err, c.withdraw(ctx, active))
	}
	return nil
}

// applyNetwork tells the driver, and makes the network part of the desired state in the same turn at the gate: a Sync
// sees both or neither.
func (c *NetworkController) applyNetwork(ctx context.Context, active *activeNetwork) error {
	if err := active.host.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer active.host.gate.Release(1)
	if err := c.refuseUnfit(active.host); err != nil {
		return err
	}
	if err := active.host.ApplyNetwork(ctx, active.rec.driverNetwork()); err != nil {
		return err
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.networks[active.rec.ID] = active
	return nil
}

// deactivate takes the network off this host. It is for the holder of the network's turn.
func (c *NetworkController) deactivate(ctx context.Context, id drivers.NetworkID) error {
	c.state.mu.Lock()
	active := c.state.networks[id]
	c.state.mu.Unlock()
	if active == nil {
		return nil
	}
	return c.withdraw(ctx, active)
}

// withdraw stops following the network's peers and removes it from the host. What cannot be removed now the next Sync
// removes, because it is not wanted any more.
func (c *NetworkController) withdraw(ctx context.Context, active *activeNetwork) error {
	if active.members != nil {
		active.members.close()
	}
	// First of all: a network whose peers nobody follows must not be taken for one in use, should the rest fail.
	c.state.mu.Lock()
	delete(c.state.networks, active.rec.ID)
	c.state.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := active.host.gate.Acquire(ctx, 1)
	if err == nil {
		err = active.host.RemoveNetwork(ctx, active.rec.ID)
		active.host.gate.Release(1)
	}
	if err != nil {
		c.wakeUp(cause{CauseRemoval, "network " + string(active.rec.ID)})
	}
	return err
}

// spansNodes reports whether networks of the driver are shared with other nodes.
func (c *NetworkController) spansNodes(h *driverHost) bool {
	return h.info.Scope == drivers.ScopeCluster && c.cluster != c.local
}

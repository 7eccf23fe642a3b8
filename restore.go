package libcnm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store"
)

// restore loads what the stores say of this host and makes it so.
func (c *NetworkController) restore(ctx context.Context) error {
	if err := c.loadSandboxes(ctx); err != nil {
		return err
	}
	if err := c.removeStrayFiles(); err != nil {
		return err
	}
	if err := c.loadNetworks(ctx); err != nil {
		return err
	}
	if err := c.loadJoins(ctx); err != nil {
		return err
	}
	if c.unclean {
		if err := c.disinherit(ctx); err != nil {
			return err
		}
	}
	used, err := c.usedDrivers(ctx)
	if err != nil {
		return err
	}
	for _, active := range c.state.activeNetworks() {
		// A controller that ended between recording a network and telling its driver has not noted that.
		if !active.host.used {
			if err := c.markUsed(ctx, active.host); err != nil {
				return err
			}
			used = append(used, active.host)
		}
	}
	for _, h := range used {
		err := c.syncFirst(ctx, h)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err == nil {
			continue
		}
		// A switch that does not run must not keep the networks of other drivers from being looked after.
		c.log.Error("driver could not be brought in order, will be tried again", "driver", h.info.Name, "error", err)
		if errors.Is(err, ErrUnavailable) {
			c.state.setUnfit(h, err)
		}
	}
	if err := c.startMemberships(ctx); err != nil {
		return err
	}
	if err := c.attachAll(ctx); err != nil {
		return err
	}
	if !c.rebooted && !c.unclean {
		return nil
	}
	if err := c.rememberIdentity(ctx, c.node.Boot); err != nil {
		return err
	}
	c.rebooted, c.unclean = false, false
	return nil
}

// loadSandboxes makes the recorded sandboxes known. Those of before a reboot are gone with their containers, and so are
// those whose runtime has removed their namespace; a namespace of ours that is missing is made again.
func (c *NetworkController) loadSandboxes(ctx context.Context) error {
	raws, _, err := c.local.List(ctx, dirSandbox)
	if err != nil {
		return err
	}
	for _, raw := range raws {
		s, err := decode[sandboxRecord](raw)
		if err != nil {
			return err
		}
		sb := c.sandbox(&s.value)
		if c.rebooted || !sb.rec.Owned && sb.gone() {
			c.log.Info("sandbox ended with its container", "container", sb.rec.ContainerID, "reboot", c.rebooted)
			if err := errors.Join(sb.unrecord(ctx), sb.demolish()); err != nil {
				return err
			}
			continue
		}
		if err := sb.place(ctx); err != nil {
			return fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err)
		}
		c.state.addSandbox(sb)
	}
	return nil
}

// removeStrayFiles removes namespaces and directories of sandboxes that have no record.
func (c *NetworkController) removeStrayFiles() error {
	var errs []error
	for _, dir := range []string{c.namespaceDir(), c.sandboxDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read run directory: %w: %w", err, ErrUnavailable)
		}
		for _, entry := range entries {
			if _, known := c.state.sandbox(entry.Name(), ""); known || !isID(entry.Name()) {
				continue
			}
			stray := filepath.Join(dir, entry.Name())
			c.log.Info("left-over of a sandbox is removed", "path", stray)
			if dir == c.namespaceDir() {
				errs = append(errs, link.DeleteNS(stray))
			} else {
				errs = append(errs, removeDir(stray))
			}
		}
	}
	return errors.Join(errs...)
}

// loadNetworks makes this node's own networks part of the desired state.
func (c *NetworkController) loadNetworks(ctx context.Context) error {
	raws, _, err := c.local.List(ctx, dirNetworks)
	if err != nil {
		return err
	}
	list, _ := readEach(c.unreadableHere, dirNetworks, raws, func(raw store.Record) (*Network, error) { return c.networkOf(c.local, raw) })
	for _, n := range list {
		if n.host.info.Scope == drivers.ScopeLocal {
			c.state.networks[n.rec.ID] = &activeNetwork{rec: n.rec, host: n.host}
		}
	}
	return nil
}

// loadJoins makes the endpoints that are joined here part of the desired state, and with them the networks of cluster
// scope that they need.
func (c *NetworkController) loadJoins(ctx context.Context) error {
	for _, st := range c.stores() {
		raws, _, err := st.List(ctx, dirMembers(c.node.Name))
		if err != nil {
			return err
		}
		byNetwork := make(map[drivers.NetworkID][]store.Record)
		for _, raw := range raws {
			id, ok := memberNetwork(raw.Key)
			if !ok {
				c.log.Error("index entry makes no sense", "key", printable(raw.Key))
				continue
			}
			byNetwork[id] = append(byNetwork[id], raw)
		}
		for _, id := range slices.Sorted(maps.Keys(byNetwork)) {
			if err := c.loadMembers(ctx, st, id, byNetwork[id]); err != nil {
				return err
			}
		}
	}
	return nil
}

// memberNetwork is the network that an index entry is about; false for a key that this package would not have written.
func memberNetwork(key string) (drivers.NetworkID, bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 || !isID(parts[2]) || !isID(parts[3]) {
		return "", false
	}
	return drivers.NetworkID(parts[2]), true
}

// loadMembers takes over the endpoints of one network that are joined here.
func (c *NetworkController) loadMembers(ctx context.Context, st store.Store, id drivers.NetworkID, members []store.Record) error {
	n, err := c.loadNetwork(ctx, st, id)
	if errors.Is(err, ErrNotFound) {
		return c.dropMembers(ctx, st, members)
	}
	if errors.Is(err, ErrInvalid) {
		c.unreadableIn(st).note(keyNetwork(id), err)
		return nil // its endpoints wait until it can be read
	}
	if err != nil {
		return err
	}
	l, err := n.listEndpoints(ctx)
	if err != nil {
		return err
	}
	active := &activeNetwork{rec: n.rec, host: n.host}
	if c.spansNodes(n.host) {
		// A Sync that did not know the peers would take them off the host.
		active.members = newMembership(c, n)
		active.members.learn(l)
	}
	byID := make(map[drivers.EndpointID]*stored[endpointRecord], len(l.endpoints))
	for _, s := range l.endpoints {
		byID[s.value.ID] = s
	}
	for _, member := range members {
		id := drivers.EndpointID(path.Base(member.Key))
		if slices.Contains(l.unreadable, keyEndpoint(n.rec.ID, id)) {
			continue // nobody knows what it should be
		}
		s := byID[id]
		if s == nil || s.value.Join == nil || s.value.Join.Node != c.node.Name {
			err = c.dropMembers(ctx, st, []store.Record{member})
		} else {
			err = c.adopt(ctx, n, s, active)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropMembers deletes index entries that say of an endpoint it is joined here when the endpoint does not. No call leaves
// such; a store that was restored from a backup might. One that another node deletes meanwhile, with its endpoint, is
// no conflict.
func (c *NetworkController) dropMembers(ctx context.Context, st store.Store, members []store.Record) error {
	for _, member := range members {
		_, err := st.Commit(ctx, []store.Guard{store.Unchanged(member)}, store.Delete(member.Key))
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		c.log.Warn("index entry without a joined endpoint is removed", "key", member.Key)
	}
	return nil
}

// adopt takes over an endpoint that is joined here, and with it the network, or takes it out of a sandbox that has ended.
func (c *NetworkController) adopt(ctx context.Context, n *Network, s *stored[endpointRecord], active *activeNetwork) error {
	sb, ok := c.state.sandbox(s.value.Join.Sandbox, "")
	if !ok {
		c.log.Info("endpoint leaves a sandbox that has ended", "network", n.rec.Name, "endpoint", s.value.Name)
		return c.recordLeave(ctx, n.endpoint(s))
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.lockedAttach(&attachment{id: s.value.ID, network: n, sandbox: sb, ep: &s.value, rev: s.rev(), wanted: true})
	if c.state.networks[n.rec.ID] == nil {
		c.state.networks[n.rec.ID] = active
	}
	return nil
}

// startMemberships begins to follow the peers of the networks that are in use here.
func (c *NetworkController) startMemberships(ctx context.Context) error {
	for _, active := range c.state.activeNetworks() {
		if active.members == nil {
			continue
		}
		err := active.members.start(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.log.Error("peers could not be applied, will be tried again", "network", active.rec.Name, "error", err)
		}
	}
	return nil
}

// markUsed records that the driver may have left something on this host, so that the next controller asks it to clean up
// even if it then has no network.
func (c *NetworkController) markUsed(ctx context.Context, h *driverHost) error {
	c.state.mu.Lock()
	used := h.used
	c.state.mu.Unlock()
	if used {
		return nil
	}
	op, err := ref(keyUsedDriver(h.info.Name), h.info.Name)
	if err != nil {
		return err
	}
	if _, err := c.local.Commit(ctx, nil, op); err != nil {
		return err
	}
	c.state.mu.Lock()
	h.used = true
	c.state.mu.Unlock()
	return nil
}

// usedDrivers returns the drivers that have been used on this host.
func (c *NetworkController) usedDrivers(ctx context.Context) ([]*driverHost, error) {
	raws, _, err := c.local.List(ctx, dirUsedDrivers)
	if err != nil {
		return nil, err
	}
	var list []*driverHost
	for _, raw := range raws {
		h, err := c.driver(path.Base(raw.Key))
		if err != nil {
			return nil, fmt.Errorf("it was used on this host: %w", err)
		}
		h.used = true
		list = append(list, h)
	}
	return list, nil
}

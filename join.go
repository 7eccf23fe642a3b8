package libcnm

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store"
)

// The turns of the controller's queue. A call that needs several takes them in this order: endpoint, network, sandbox.
func endpointTurn(id drivers.EndpointID) string { return "endpoint/" + string(id) }
func networkTurn(id drivers.NetworkID) string   { return "network/" + string(id) }
func sandboxTurn(id string) string              { return "sandbox/" + id }
func containerTurn(id string) string            { return "container/" + id }

// Join puts the endpoint into a sandbox of this node: when it returns, the sandbox has the interface with its addresses
// and routes, and reaches the network's other endpoints. Other nodes learn of it from the commit with which Join begins.
//
// A sandbox may be in several networks. Its interfaces are called eth0, eth1, ... in the order of joining; the first free
// number is used. The default gateway of each address family is held by the endpoint that has a gateway of that family
// and, of these, the highest WithGatewayPriority; among equals the one with the lowest number, eth0 before eth1.
// Endpoints of internal networks have no gateway. When the holder leaves, the next takes over at once.
//
// Joining a sandbox that the endpoint is in already succeeds, and repairs it; its options are those of the first time. An
// endpoint that is in another sandbox, here or on another node, is ErrInUse. If a first Join fails, the endpoint is in no
// sandbox. Should the store not answer, other nodes may see it joined here until the store does again.
func (e *Endpoint) Join(ctx context.Context, sb *Sandbox, opts ...JoinOption) (err error) {
	defer wrap(&err, "join endpoint", e.name)
	c := e.network.c
	exit, err := c.enter()
	if err != nil {
		return err
	}
	defer exit()
	var cfg joinConfig
	if err := apply(&cfg, opts); err != nil {
		return err
	}
	if err := e.checkSandbox(sb); err != nil {
		return err
	}
	release, err := c.queue.Lock(ctx, endpointTurn(e.id))
	if err != nil {
		return err
	}
	defer release()
	if err := c.settle(ctx, e); err != nil {
		return err
	}
	if a, seen := c.state.attached(e.id); a != nil {
		if seen.sandbox != sb {
			return fmt.Errorf("it is joined to container %s: %w", seen.sandbox.rec.ContainerID, ErrInUse)
		}
		if err := c.occupy(ctx, e.network); err != nil {
			return err
		}
		return c.attach(ctx, e.network, a)
	}
	return c.join(ctx, e, sb, &cfg)
}

// checkSandbox refuses a sandbox that the endpoint can never join.
func (e *Endpoint) checkSandbox(sb *Sandbox) error {
	info := e.network.host.info
	switch {
	case sb == nil:
		return fmt.Errorf("sandbox is nil: %w", ErrInvalid)
	case sb.c != e.network.c:
		return fmt.Errorf("sandbox of container %s belongs to another controller: %w", sb.rec.ContainerID, ErrInvalid)
	case e.network.c.drivers[info.Name] == nil:
		return absentDriver{info}.err()
	case info.HostNetNS && !sb.hostNetNS():
		return fmt.Errorf("networks of driver %s need a sandbox made with WithHostNetwork: %w", info.Name, ErrUnsupported)
	case !info.HostNetNS && info.Addressing && sb.hostNetNS():
		return fmt.Errorf("container %s uses the host's namespace, only networks of the host driver can be joined: %w",
			sb.rec.ContainerID, ErrUnsupported)
	}
	return nil
}

// join commits that the endpoint is in the sandbox, makes it so, and takes both back if that fails.
func (c *NetworkController) join(ctx context.Context, e *Endpoint, sb *Sandbox, cfg *joinConfig) error {
	ep := e.snapshot()
	a, err := c.state.reserve(sb, e.network, &ep.value, cfg)
	if err != nil {
		return err
	}
	if err := c.recordJoin(ctx, e, a); err != nil {
		c.state.forget(a)
		if errors.Is(err, ErrUnavailable) {
			c.doubt(e)
		}
		return err
	}
	err = c.occupy(ctx, e.network)
	if err == nil {
		err = c.attach(ctx, e.network, a)
	}
	if err != nil {
		return c.undoJoin(ctx, e, a, err)
	}
	return nil
}

// undoJoin ends a join that failed with cause.
func (c *NetworkController) undoJoin(ctx context.Context, e *Endpoint, a *attachment, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	err := c.recordLeave(ctx, e)
	if err != nil {
		c.doubt(e)
		err = fmt.Errorf("undo: %w", err)
	}
	return errors.Join(cause, err, c.detach(ctx, e.network, a))
}

// recordJoin commits the join. The endpoint's record as last seen is tried first, and read only if it is stale.
func (c *NetworkController) recordJoin(ctx context.Context, e *Endpoint, a *attachment) error {
	join := *a.ep.Join
	join.Node = c.node.Name
	s, fresh := e.snapshot(), false
	for {
		if j := s.value.Join; j != nil {
			// Another handle, or another node, may have taken it out since this handle looked.
			if fresh {
				return fmt.Errorf("it is joined to sandbox %s on node %s: %w", j.Sandbox, j.Node, ErrInUse)
			}
			var err error
			if s, err = e.refresh(ctx); err != nil {
				return err
			}
			fresh = true
			continue
		}
		joined := s.value.withJoin(&join)
		next, err := e.rewrite(ctx, s, joined, func(b *batch) {
			key := keyMember(c.node.Name, joined.Network, joined.ID)
			b.put(ref(key, string(joined.ID)))
		})
		if err == nil {
			c.state.settle(a, &next.value, next.rev(), nil)
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if s, err = e.refresh(ctx); err != nil {
			return err
		}
		fresh = true
	}
}

// recordLeave commits that the endpoint is in no sandbox. One that is not in a sandbox of this node is left as it is.
func (c *NetworkController) recordLeave(ctx context.Context, e *Endpoint) error {
	s := e.snapshot()
	for {
		if s.value.Join == nil || s.value.Join.Node != c.node.Name {
			return nil
		}
		err := c.commitLeave(ctx, e, s)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		s, err = e.refresh(ctx)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// commitLeave tries to commit once that the endpoint is in no sandbox of this node.
func (c *NetworkController) commitLeave(ctx context.Context, e *Endpoint, s *stored[endpointRecord]) error {
	left := s.value.withJoin(nil)
	_, err := e.rewrite(ctx, s, left, func(b *batch) {
		b.op(store.Delete(keyMember(c.node.Name, left.Network, left.ID)))
	})
	return err
}

// rewrite commits a new value of the endpoint's record over the one that s holds.
func (e *Endpoint) rewrite(ctx context.Context, s *stored[endpointRecord], value *endpointRecord, more func(*batch)) (*stored[endpointRecord], error) {
	g, err := s.unchanged()
	if err != nil {
		return nil, err
	}
	key := keyEndpoint(value.Network, value.ID)
	var b batch
	b.guard(g)
	b.put(put(key, *value))
	more(&b)
	if b.err != nil {
		return nil, b.err
	}
	rev, err := e.network.store().Commit(ctx, b.guards, b.ops...)
	if err != nil {
		return nil, err
	}
	next := &stored[endpointRecord]{value: *value, raw: store.Record{Key: key, Rev: rev}}
	e.remember(next)
	return next, nil
}

// occupy makes the network exist on this host. The attachment that needs it is known already, so that the leave of
// another endpoint does not take the network away meanwhile.
func (c *NetworkController) occupy(ctx context.Context, n *Network) error {
	release, err := c.queue.Lock(ctx, networkTurn(n.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	return c.activate(ctx, n)
}

// vacate takes a network of cluster scope off the host when its last endpoint has left.
func (c *NetworkController) vacate(ctx context.Context, n *Network) error {
	if n.host.info.Scope != drivers.ScopeCluster {
		return nil
	}
	release, err := c.queue.Lock(ctx, networkTurn(n.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	if c.state.uses(n.rec.ID) {
		return nil
	}
	return c.deactivate(ctx, n.rec.ID)
}

// attach makes the interface of a joined endpoint and configures it; everything it does can be repeated.
func (c *NetworkController) attach(ctx context.Context, n *Network, a *attachment) error {
	if err := n.host.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer n.host.gate.Release(1)
	seen, ready, err := c.plug(ctx, n, a)
	switch {
	case err != nil:
		return err
	case seen.made.Interface == "":
		ready()
		return nil
	}
	err = a.sandbox.inside(func(h *link.Handle) error {
		if err := seen.configure(ctx, h); err != nil {
			return err
		}
		return a.sandbox.route(ctx, h, ready)
	})
	if err != nil {
		return err
	}
	if s, ok := drivers.As[drivers.Settler](n.host.Driver); ok {
		if err := s.Settle(ctx); err != nil { // it is in the network all the same, and in a moment the data plane is restored
			c.log.Warn("data plane did not settle after a join", "network", n.rec.Name, "endpoint", a.id, "error", err)
			c.wakeUp(cause{CauseDriver, n.host.info.Name + ": not settled"})
		}
	}
	return nil
}

// plug has the driver make the interface, and returns what is then known of the endpoint. Once the sandbox's routes and files
// follow from the endpoint too, or it is known that they need not, ready must be called. It is for the holder of a part of the
// gate.
func (c *NetworkController) plug(ctx context.Context, n *Network, a *attachment) (seen attachment, ready func(), err error) {
	if err := c.refuseUnfit(n.host); err != nil {
		return attachment{}, nil, err
	}
	seen = c.state.setWanted(a, true)
	made, err := n.host.ApplyEndpoint(ctx, seen.driverEndpoint())
	if err != nil {
		return attachment{}, nil, err
	}
	ready = func() { c.state.settle(a, seen.ep, seen.rev, &made) }
	seen.made, seen.ready = made, true
	return seen, ready, nil
}

// Leave takes the endpoint out of the sandbox. Its name and addresses stay its own. Leaving a sandbox that it is not in
// succeeds; if it is in another one that is ErrInUse.
func (e *Endpoint) Leave(ctx context.Context, sb *Sandbox) (err error) {
	defer wrap(&err, "leave endpoint", e.name)
	c := e.network.c
	exit, err := c.enter()
	if err != nil {
		return err
	}
	defer exit()
	if sb == nil || sb.c != c {
		return fmt.Errorf("not a sandbox of this controller: %w", ErrInvalid)
	}
	release, err := c.queue.Lock(ctx, endpointTurn(e.id))
	if err != nil {
		return err
	}
	defer release()
	if err := c.settle(ctx, e); err != nil {
		return err
	}
	a, seen := c.state.attached(e.id)
	if a != nil {
		if seen.sandbox != sb {
			return fmt.Errorf("it is joined to container %s: %w", seen.sandbox.rec.ContainerID, ErrInUse)
		}
		return c.leave(ctx, e, a)
	}
	s, err := e.refresh(ctx)
	if err != nil {
		return err
	}
	if j := s.value.Join; j != nil && j.Sandbox != sb.rec.ID {
		return fmt.Errorf("it is joined to sandbox %s on node %s: %w", j.Sandbox, j.Node, ErrInUse)
	}
	return c.recordLeave(ctx, e)
}

// leave commits that an endpoint which is joined here is not, and takes its interface away. Other nodes stop sending
// from the commit on.
func (c *NetworkController) leave(ctx context.Context, e *Endpoint, a *attachment) error {
	_, seen := c.state.attached(e.id)
	e.remember(seen.stored())
	if err := c.recordLeave(ctx, e); err != nil {
		if errors.Is(err, ErrUnavailable) {
			c.doubt(e)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return c.detach(ctx, e.network, a)
}

// detach takes away what attach made. What it cannot remove, the next Sync does: it is not wanted any more.
func (c *NetworkController) detach(ctx context.Context, n *Network, a *attachment) error {
	// The next holder of the default gateway takes over before the interface goes.
	routed := a.sandbox.routeIfThere(ctx, func() { c.state.unready(a) })
	err := c.removeEndpoint(ctx, n, a)
	c.state.forget(a)
	if err != nil {
		c.wakeUp(cause{CauseRemoval, "endpoint " + string(a.id)})
	}
	return errors.Join(routed, err, c.vacate(ctx, n))
}

func (c *NetworkController) removeEndpoint(ctx context.Context, n *Network, a *attachment) error {
	if err := n.host.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer n.host.gate.Release(1)
	c.state.setWanted(a, false)
	return n.host.RemoveEndpoint(ctx, n.rec.ID, a.id)
}

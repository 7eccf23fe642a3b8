package libcnm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Drift is one difference between what should be true of this host and what is.
type Drift = drivers.Drift

// repairTimeout bounds one round of repair, so that a driver that hangs does not keep the others from theirs.
const repairTimeout = 30 * time.Second

// wakeSettle is how long the repair waits after a first sign of damage, so that one look finds all of a burst.
const wakeSettle = 50 * time.Millisecond

// Check compares this host with the desired state and names every difference. It changes nothing. Calls in progress are
// waited for, so that what they are about to do is not taken for a difference.
func (c *NetworkController) Check(ctx context.Context) (_ []Drift, err error) {
	defer wrap(&err, "check")
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	var all []Drift
	for _, h := range c.activeDrivers() {
		found, err := c.checkDriver(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("driver %s: %w", h.info.Name, err)
		}
		all = append(all, found...)
	}
	for _, sb := range c.state.allSandboxes() {
		found, err := sb.check(ctx)
		if err != nil {
			return nil, fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Reconcile makes the host equal to the desired state. A controller does so by itself when it learns of a difference;
// after Reconcile has returned it is done.
func (c *NetworkController) Reconcile(ctx context.Context) (err error) {
	defer wrap(&err, "reconcile")
	exit, err := c.enter()
	if err != nil {
		return err
	}
	defer exit()
	return c.repair(ctx, "asked for")
}

// activeDrivers are those that may have something on this host.
func (c *NetworkController) activeDrivers() []*driverHost {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	var list []*driverHost
	for _, h := range c.drivers {
		if h.used {
			list = append(list, h)
		}
	}
	return list
}

func (c *NetworkController) checkDriver(ctx context.Context, h *driverHost) ([]Drift, error) {
	if err := h.gate.Acquire(ctx, gateWidth); err != nil {
		return nil, err
	}
	defer h.gate.Release(gateWidth)
	return h.Check(ctx, c.state.desired(h))
}

// syncDriver makes the host equal to what the driver should have on it.
func (c *NetworkController) syncDriver(ctx context.Context, h *driverHost) error {
	if err := h.gate.Acquire(ctx, gateWidth); err != nil {
		return err
	}
	defer h.gate.Release(gateWidth)
	return h.Sync(ctx, c.state.desired(h))
}

// wakeUp asks for a repair soon.
func (c *NetworkController) wakeUp(cause string) {
	select {
	case c.wake <- cause:
	default:
	}
}

// maintain repairs the host until the controller closes: when something tells it to, and from time to time.
func (c *NetworkController) maintain() {
	ctx := c.background
	for _, h := range c.drivers {
		if notifier, ok := drivers.As[drivers.Notifier](h.Driver); ok {
			c.tasks.Go(func() { c.forward(ctx, notifier) })
		}
	}
	c.tasks.Go(func() { c.watchLinks(ctx) })
	ticker := time.NewTicker(c.check)
	defer ticker.Stop()
	for {
		cause := ""
		select {
		case <-ctx.Done():
			return
		case <-c.lost:
			c.evictLost(ctx)
			continue
		case cause = <-c.wake:
			pause(ctx, wakeSettle) // signs come in bursts
		case <-ticker.C:
		}
		c.evictLost(ctx) // those whose first removal failed
		round, cancel := context.WithTimeout(ctx, repairTimeout)
		err := c.repair(round, cause)
		cancel()
		if err != nil && ctx.Err() == nil {
			c.log.Warn("host could not be repaired, will be tried again", "cause", cause, "error", err)
		}
	}
}

// evictLost takes endpoints out of their sandboxes that the store says are not joined here any more.
func (c *NetworkController) evictLost(ctx context.Context) {
	for _, a := range c.state.takeLost() {
		if err := c.evict(ctx, a); err != nil && ctx.Err() == nil {
			c.log.Warn("endpoint could not be removed, will be tried again", "endpoint", a.id, "error", err)
			c.state.markLost(a)
		}
	}
}

func (c *NetworkController) evict(ctx context.Context, a *attachment) error {
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	release, err := c.queue.Lock(ctx, endpointTurn(a.id))
	if err != nil {
		return err
	}
	defer release()
	if c.state.current(a.id) != a {
		return nil // it was a Leave of this node, whose turn it was
	}
	c.log.Info("endpoint was taken out of its sandbox by another node", "network", a.network.rec.Name, "endpoint", a.id)
	return c.detach(ctx, a.network, a)
}

// forward passes on what a driver notices by itself.
func (c *NetworkController) forward(ctx context.Context, n drivers.Notifier) {
	for {
		select {
		case <-ctx.Done():
			return
		case cause, ok := <-n.Events():
			if !ok {
				return
			}
			c.wakeUp(cause)
		}
	}
}

// watchLinks notices when one of our interfaces is removed by somebody else.
func (c *NetworkController) watchLinks(ctx context.Context) {
	for ctx.Err() == nil {
		changes, err := c.links.Watch(ctx)
		if err != nil {
			c.log.Warn("interfaces cannot be watched", "error", err)
			pause(ctx, followRetry)
			continue
		}
		for change, err := range changes {
			if err != nil {
				break
			}
			if change.Name == "" || change.Gone && c.state.wants(change.Alias) {
				c.wakeUp("interface " + change.Name + " is gone")
			}
		}
	}
}

// repair compares every driver's part of the host, and every sandbox if there is reason to, with the desired state, and
// makes good what differs. Without a cause it looks only where looking is cheap.
func (c *NetworkController) repair(ctx context.Context, cause string) error {
	var errs []error
	found := cause != ""
	for _, h := range c.activeDrivers() {
		n, err := c.repairDriver(ctx, h, cause)
		if err != nil {
			errs = append(errs, fmt.Errorf("driver %s: %w", h.info.Name, err))
		}
		found = found || n > 0
	}
	for _, sb := range c.state.allSandboxes() {
		if !found && !sb.gone() {
			continue
		}
		if err := c.repairSandbox(ctx, sb); err != nil {
			errs = append(errs, fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err))
		}
	}
	return errors.Join(errs...)
}

// repairDriver syncs a driver if its part of the host differs. The first look is taken without keeping others waiting;
// what it finds may only be a call in progress.
func (c *NetworkController) repairDriver(ctx context.Context, h *driverHost, cause string) (int, error) {
	found, err := h.Check(ctx, c.state.desired(h))
	if err == nil && len(found) == 0 {
		return 0, nil
	}
	if err := h.gate.Acquire(ctx, gateWidth); err != nil {
		return 0, err
	}
	defer h.gate.Release(gateWidth)
	want := c.state.desired(h)
	if found, err = h.Check(ctx, want); err == nil && len(found) == 0 {
		return 0, nil
	}
	for _, d := range found {
		c.log.Info("difference is repaired", "driver", h.info.Name, "object", d.Object, "want", d.Want, "have", d.Have, "cause", cause)
	}
	return len(found), h.Sync(ctx, want)
}

// repairSandbox brings back the namespace, interfaces, addresses, routes and files of a sandbox.
func (c *NetworkController) repairSandbox(ctx context.Context, sb *Sandbox) error {
	found, err := sb.check(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	for _, d := range found {
		c.log.Info("difference is repaired", "container", sb.rec.ContainerID, "object", d.Object, "want", d.Want, "have", d.Have)
	}
	release, err := c.queue.Lock(ctx, containerTurn(sb.rec.ContainerID))
	if err != nil {
		return err
	}
	if c.state.stays(sb) && (sb.rec.Owned || !sb.gone()) {
		err = sb.build(ctx)
	}
	release()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range c.state.of(sb) {
		errs = append(errs, c.reattach(ctx, a.network, c.state.current(a.id)))
	}
	return errors.Join(append(errs, sb.routeIfThere(ctx, func() {}))...)
}

// reattach repeats attach, in the endpoint's turn, if it is still joined.
func (c *NetworkController) reattach(ctx context.Context, n *Network, a *attachment) error {
	if a == nil {
		return nil
	}
	release, err := c.queue.Lock(ctx, endpointTurn(a.id))
	if err != nil {
		return err
	}
	defer release()
	if c.state.current(a.id) != a || a.sandbox.gone() {
		return nil
	}
	return c.attach(ctx, n, a)
}

// check names what differs in the sandbox itself. A runtime's namespace that is gone is no difference: it is not ours to
// bring back, and the runtime will delete the sandbox.
func (sb *Sandbox) check(ctx context.Context) ([]Drift, error) {
	if sb.hostNetNS() {
		return nil, nil
	}
	if sb.gone() {
		return sb.missing(), nil
	}
	release, err := sb.c.queue.Lock(ctx, sandboxTurn(sb.rec.ID))
	if err != nil {
		return nil, err
	}
	defer release()
	var all []Drift
	err = sb.inside(func(h *link.Handle) error {
		for _, a := range sb.c.state.of(sb) {
			if !a.ready || a.made.Interface == "" {
				continue
			}
			found, err := h.CheckInterface(ctx, a.wantInterface())
			if err != nil {
				return err
			}
			all = append(all, a.drifts(found)...)
		}
		found, err := h.CheckRoutes(ctx, sb.wantRoutes())
		if err != nil {
			return err
		}
		for _, d := range found {
			all = append(all, Drift{Object: d.Object, Want: d.Want, Have: d.Have})
		}
		return nil
	})
	if err != nil && sb.gone() {
		return sb.missing(), nil // it went under our eyes
	}
	return all, err
}

// missing is the difference that the namespace of the sandbox is gone: none while the sandbox is being deleted.
func (sb *Sandbox) missing() []Drift {
	if !sb.rec.Owned || !sb.c.state.stays(sb) {
		return nil
	}
	return []Drift{{Object: "namespace " + sb.rec.NetNS, Want: "present"}}
}

func (a *attachment) drifts(found []link.Difference) []Drift {
	list := make([]Drift, 0, len(found))
	for _, d := range found {
		list = append(list, Drift{Network: a.ep.Network, Endpoint: a.ep.ID, Object: d.Object, Want: d.Want, Have: d.Have})
	}
	return list
}

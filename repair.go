package libcnm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// maxRepairPause bounds the time between two attempts at what Sync did not mend.
const maxRepairPause = time.Minute

// repair compares every driver's part of the host, and every sandbox if there is reason to, with the desired state, and
// makes good what differs. At an interval it looks only where looking is cheap.
func (c *NetworkController) repair(ctx context.Context, why cause) error {
	c.stats.change(func(s *Stats) { s.Rounds++ })
	var errs []error
	found := why.kind != CauseInterval
	// Drivers put interfaces into the namespaces, so these come first.
	for _, sb := range c.state.allSandboxes() {
		if !sb.gone() {
			continue
		}
		found = true
		if err := c.repairNamespace(ctx, sb, why); err != nil {
			c.stats.change(func(s *Stats) { s.Failures++ })
			errs = append(errs, fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err))
		}
	}
	for _, h := range c.activeDrivers() {
		n, err := c.repairDriver(ctx, h, why)
		if err != nil {
			errs = append(errs, fmt.Errorf("driver %s: %w", h.info.Name, err))
		}
		found = found || n > 0
	}
	sandboxes := c.state.allSandboxes()
	var turn []*Sandbox
	if !found {
		turn = c.turn(sandboxes)
	}
	for _, sb := range sandboxes {
		if !found && !slices.Contains(turn, sb) && !sb.gone() {
			continue
		}
		if err := c.repairSandbox(ctx, sb, why); err != nil {
			c.stats.change(func(s *Stats) { s.Failures++ })
			errs = append(errs, fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err))
		}
	}
	return errors.Join(errs...)
}

// repairDriver syncs a driver if its part of the host differs, and returns how many differences there were. The first
// look is taken without keeping others waiting; what it finds may only be a call in progress.
func (c *NetworkController) repairDriver(ctx context.Context, h *driverHost, why cause) (int, error) {
	if c.state.fits(h) {
		found, err := h.Check(ctx, c.state.desired(h))
		if err == nil && !h.remains.worth(found, why) {
			return 0, nil
		}
	}
	if err := h.gate.Acquire(ctx, gateWidth); err != nil {
		return 0, err
	}
	defer h.gate.Release(gateWidth)
	c.tellAll(ctx, h)
	want := c.state.desired(h)
	found, err := h.Check(ctx, want)
	if err == nil && c.state.fits(h) && !h.remains.worth(found, why) {
		return 0, nil
	}
	return len(found), errors.Join(err, c.sync(ctx, h, want, found, why))
}

// syncFirst is New's: it syncs a driver whatever is found.
func (c *NetworkController) syncFirst(ctx context.Context, h *driverHost) error {
	if err := h.gate.Acquire(ctx, gateWidth); err != nil {
		return err
	}
	defer h.gate.Release(gateWidth)
	want := c.state.desired(h)
	var found []Drift
	if !c.rebooted { // else everything is gone, which is no damage
		var err error
		if found, err = h.Check(ctx, want); err != nil {
			c.log.Info("host cannot be looked at before it is brought in order", "driver", h.info.Name, "error", err)
		}
	}
	return c.sync(ctx, h, want, found, cause{kind: CauseStart})
}

// sync makes a driver's part of the host equal to want, and counts what of found is mended. It is for the holder of the
// whole gate.
func (c *NetworkController) sync(ctx context.Context, h *driverHost, want []drivers.NetworkState, found []Drift, why cause) error {
	if err := h.Sync(ctx, want); err != nil && !final(err) {
		c.stats.change(func(s *Stats) { s.Failures++ })
		return err
	}
	left, err := h.Check(ctx, want)
	if err != nil {
		return err
	}
	c.repaired(h.info.Name, without(found, left), why, "driver", h.info.Name)
	if h.remains.set(left, c.check) {
		for _, d := range left {
			c.log.Warn("difference cannot be repaired", "driver", h.info.Name, "network", d.Network, "endpoint", d.Endpoint,
				"object", d.Object, "want", d.Want, "have", d.Have, "cause", why.kind, "detail", why.detail)
		}
	}
	if c.state.fits(h) {
		return nil
	}
	c.state.setUnfit(h, nil)
	c.log.Info("driver is in order now", "driver", h.info.Name)
	for _, active := range c.state.activeNetworks() {
		if active.host == h && active.members != nil {
			active.members.refresh()
		}
	}
	return nil
}

// without returns the differences that are not in left.
func without(found, left []Drift) []Drift {
	return slices.DeleteFunc(slices.Clone(found), func(d Drift) bool { return slices.Contains(left, d) })
}

// remains are the differences that were there still after a Sync. They may be beyond this host: the MTU of another node, a
// peer out of reach. So they alone are reason for another Sync less and less often.
type remains struct {
	mu    sync.Mutex // guards what follows
	left  []Drift
	tries int
	next  time.Time
}

// worth reports whether a Sync may help against what was found.
func (r *remains) worth(found []Drift, why cause) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(found) == 0:
		return false
	case why.kind != CauseInterval:
		return true
	}
	return len(without(found, r.left)) > 0 || !time.Now().Before(r.next)
}

// set notes what a Sync has left, and reports whether it is something else than before.
func (r *remains) set(left []Drift, pause time.Duration) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = len(without(left, r.left)) > 0 || len(left) != len(r.left)
	if changed {
		r.tries = 0
	}
	r.next = time.Now()
	if r.tries > 0 { // the first time it may only have been too early to look
		r.next = r.next.Add(min(pause<<min(r.tries, 16), maxRepairPause))
	}
	r.tries++
	r.left = slices.Clone(left)
	return changed && len(left) > 0
}

// repairNamespace brings back a sandbox's namespace and what belongs to it alone.
func (c *NetworkController) repairNamespace(ctx context.Context, sb *Sandbox, why cause) error {
	found := sb.missing()
	if len(found) == 0 {
		return nil
	}
	if err := c.buildAgain(ctx, sb); err != nil {
		return err
	}
	c.repaired("sandbox", found, why, "container", sb.rec.ContainerID)
	return nil
}

// buildAgain repeats build, in the container's turn, unless the sandbox is being deleted or has ended with its container.
func (c *NetworkController) buildAgain(ctx context.Context, sb *Sandbox) error {
	release, err := c.queue.Lock(ctx, containerTurn(sb.rec.ContainerID))
	if err != nil {
		return err
	}
	defer release()
	if !c.state.stays(sb) || !sb.rec.Owned && sb.gone() {
		return nil
	}
	return sb.build(ctx)
}

// repairSandbox brings back the interfaces, addresses, routes and files of a sandbox.
func (c *NetworkController) repairSandbox(ctx context.Context, sb *Sandbox, why cause) error {
	found, err := sb.check(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	if err := c.buildAgain(ctx, sb); err != nil {
		return err
	}
	var errs []error
	for _, a := range c.state.of(sb) {
		errs = append(errs, c.reattach(ctx, a.network, c.state.current(a.id)))
	}
	if err := errors.Join(append(errs, sb.routeIfThere(ctx, func() {}))...); err != nil {
		return err
	}
	c.repaired("sandbox", found, why, "container", sb.rec.ContainerID)
	return nil
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

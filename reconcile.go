package libcnm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Drift is one difference between what should be true of this host and what is.
type Drift = drivers.Drift

// Check compares this host with the desired state and names every difference: what it is about, what is wanted and what
// there is. A driver that does not answer, a record that cannot be read and a peer that cannot be reached are differences
// too. It changes nothing. Calls in progress are waited for, so that what they are about to do is not taken for one.
func (c *NetworkController) Check(ctx context.Context) (_ []Drift, err error) {
	defer wrap(&err, "check")
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	all := slices.Concat(c.unreadableHere.drifts(), c.unreadableShared.drifts(), c.unfitDrifts())
	for _, h := range c.activeDrivers() {
		found, err := c.checkDriver(ctx, h)
		if errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
			found, err = []Drift{{Driver: h.info.Name, Object: "driver " + h.info.Name, Want: "answers", Have: err.Error()}}, nil
		}
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

// Reconcile makes the host equal to the desired state. A controller does so by itself when it learns of a difference, and
// counts and logs what it does (see Stats); after Reconcile has returned it is done.
func (c *NetworkController) Reconcile(ctx context.Context) (err error) {
	defer wrap(&err, "reconcile")
	exit, err := c.enter()
	if err != nil {
		return err
	}
	defer exit()
	return c.repair(ctx, cause{kind: CauseAsked})
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
	c.tellAll(ctx, h)
	return h.Check(ctx, c.state.desired(h))
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
		want, spare := sb.wantRoutes()
		found, err := h.CheckRoutes(ctx, want, spare)
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

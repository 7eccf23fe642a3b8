package libcnm

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/link"
)

// restoreWidth is how many sandboxes New works on at once: the work is waiting for the kernel.
const restoreWidth = 8

// attachAll configures the interfaces of all endpoints that are joined here. What fails is tried again by mend.
func (c *NetworkController) attachAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(restoreWidth)
	for _, sb := range c.state.allSandboxes() {
		group.Go(func() error { return c.attachSandbox(ctx, sb) })
	}
	return group.Wait()
}

// attachSandbox sets routes and writes files when it knows all endpoints of the sandbox: after the first of several the others
// would seem not to be in it.
func (c *NetworkController) attachSandbox(ctx context.Context, sb *Sandbox) error {
	list := c.state.of(sb)
	if len(list) == 0 {
		if err := sb.buildFiles(ctx); err != nil {
			return fmt.Errorf("sandbox of container %s: %w", sb.rec.ContainerID, err)
		}
		return nil
	}
	var connected []attachment
	var ready []func()
	for _, a := range list {
		done, err := c.connectAgain(ctx, a)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			c.putOff(a, err)
			continue
		}
		connected, ready = append(connected, a), append(ready, done)
	}
	err := sb.route(ctx, nil, func() {
		for _, done := range ready {
			done()
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if err != nil && len(connected) == 0 {
		c.log.Error("routes and files of a sandbox could not be set", "container", sb.rec.ContainerID, "error", err)
	}
	if err != nil {
		for _, a := range connected {
			c.putOff(a, err)
		}
	}
	return nil
}

func (c *NetworkController) connectAgain(ctx context.Context, a attachment) (ready func(), err error) {
	if err := a.network.host.gate.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer a.network.host.gate.Release(1)
	seen, ready, err := c.plug(ctx, a.network, c.state.current(a.id))
	if err != nil || seen.made.Interface == "" {
		return ready, err
	}
	return ready, a.sandbox.inside(func(h *link.Handle) error { return seen.configure(ctx, h) })
}

// putOff leaves an endpoint to mend.
func (c *NetworkController) putOff(a attachment, err error) {
	c.state.postpone(c.state.current(a.id))
	c.log.Error("endpoint could not be attached, will be tried again",
		"network", a.network.rec.Name, "endpoint", a.ep.Name, "container", a.sandbox.rec.ContainerID, "error", err)
}

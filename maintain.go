package libcnm

import (
	"context"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// repairTimeout bounds one round of repair, so that a driver that hangs does not keep the others from theirs.
const repairTimeout = 30 * time.Second

// wakeSettle is how long the repair waits after a first sign of damage, so that one look finds all of a burst.
const wakeSettle = 50 * time.Millisecond

// wakeUp asks for a repair soon.
func (c *NetworkController) wakeUp(why cause) {
	select {
	case c.wake <- why:
	default:
	}
}

// maintain repairs the host until the controller closes: when something tells it to, and from time to time.
func (c *NetworkController) maintain() {
	ctx := c.background
	for _, h := range c.drivers {
		if notifier, ok := drivers.As[drivers.Notifier](h.Driver); ok {
			c.tasks.Go(func() { c.forward(ctx, h, notifier) })
		}
	}
	c.tasks.Go(func() { c.watchLinks(ctx) })
	c.tasks.Go(c.watchSandboxes)
	ticker := time.NewTicker(c.check)
	defer ticker.Stop()
	var unrepaired, unmended failure
	for {
		var mend <-chan time.Time
		if c.unmended() {
			mend = time.After(mendRetry)
		}
		why := cause{kind: CauseInterval}
		select {
		case <-ctx.Done():
			return
		case <-c.lost:
			c.evictLost(ctx)
			continue
		case <-mend:
			if err := c.round(ctx, c.mend); unmended.isNews(ctx, err) {
				c.log.Warn("what New could not do fails still, will be tried again", "error", err)
			}
			continue
		case why = <-c.wake:
			pause(ctx, wakeSettle) // signs come in bursts
		case <-ticker.C:
		}
		c.evictLost(ctx) // those whose first removal failed
		err := c.round(ctx, func(ctx context.Context) error { return c.repair(ctx, why) })
		if unrepaired.isNews(ctx, err) {
			c.log.Warn("host could not be repaired, will be tried again", "cause", why.kind, "detail", why.detail, "error", err)
		}
	}
}

// round bounds one round of repair.
func (c *NetworkController) round(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	return work(ctx)
}

// failure is the last that was reported.
type failure struct{ text string }

// isNews reports whether err is worth a line in the log: what fails every few seconds for the same reason is said once.
func (f *failure) isNews(ctx context.Context, err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	changed := text != f.text
	f.text = text
	return changed && err != nil && ctx.Err() == nil
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
	c.log.Info("endpoint was deleted or released by another node and leaves its sandbox",
		"network", a.network.rec.Name, "endpoint", a.id, "container", a.sandbox.rec.ContainerID)
	c.stats.change(func(s *Stats) { s.Evictions++ })
	return c.detach(ctx, a.network, a)
}

// forward passes on what a driver notices by itself.
func (c *NetworkController) forward(ctx context.Context, h *driverHost, n drivers.Notifier) {
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-n.Events():
			if !ok {
				return
			}
			c.wakeUp(cause{CauseDriver, h.info.Name + ": " + event})
		}
	}
}

// watchLinks notices when one of our interfaces is removed by somebody else, set down, or taken out of its bridge.
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
			if change.Name == "" || change.Damaged() && c.state.wants(change.Alias) {
				c.wakeUp(cause{CauseInterface, change.Name})
			}
		}
	}
}

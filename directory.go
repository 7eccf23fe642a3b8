package libcnm

import (
	"context"
	"errors"
	"maps"
	"path"
	"sync"

	"github.com/libcnm/libcnm/store"
)

// nodeDirectory follows the records of the cluster's nodes from the first network that needs them. The zero value is
// ready for use.
type nodeDirectory struct {
	mu          sync.Mutex // guards everything below
	started     bool
	byName      map[string]nodeRecord
	rev         store.Rev
	subscribers map[*membership]bool
}

// start reads the nodes and follows them until the controller closes. Later calls do nothing.
func (d *nodeDirectory) start(ctx context.Context, c *NetworkController) error {
	release, err := c.queue.Lock(ctx, "nodes")
	if err != nil {
		return err
	}
	defer release()
	d.mu.Lock()
	started := d.started
	d.mu.Unlock()
	if started {
		return nil
	}
	if err := d.list(ctx, c); err != nil {
		return err
	}
	d.mu.Lock()
	d.started = true
	d.mu.Unlock()
	c.tasks.Go(func() { d.follow(c.background, c) })
	return nil
}

func (d *nodeDirectory) list(ctx context.Context, c *NetworkController) error {
	raws, rev, err := c.cluster.List(ctx, dirNodes)
	if err != nil {
		return err
	}
	byName := make(map[string]nodeRecord)
	for _, raw := range raws {
		s, err := decode[nodeRecord](raw)
		if err != nil {
			return err
		}
		byName[s.value.Name] = s.value
	}
	d.replace(byName, rev)
	return nil
}

func (d *nodeDirectory) follow(ctx context.Context, c *NetworkController) {
	for ctx.Err() == nil {
		err := d.read(ctx, c)
		if ctx.Err() != nil {
			return
		}
		c.log.Info("nodes are read anew", "cause", err)
		if err := d.list(ctx, c); err != nil && ctx.Err() == nil {
			c.log.Warn("nodes could not be read", "error", err)
			pause(ctx, followRetry)
		}
	}
}

func (d *nodeDirectory) read(ctx context.Context, c *NetworkController) error {
	d.mu.Lock()
	after := d.rev
	d.mu.Unlock()
	for ev, err := range c.cluster.Watch(ctx, dirNodes, after) {
		if err != nil {
			return err
		}
		if ev.Key == "" {
			continue
		}
		byName := d.nodes()
		if ev.Deleted {
			delete(byName, path.Base(ev.Key))
		} else {
			s, err := decode[nodeRecord](ev.Record)
			if err != nil {
				return err
			}
			byName[s.value.Name] = s.value
		}
		d.replace(byName, ev.Rev)
	}
	return errors.New("watch ended")
}

// replace takes a new state of the directory and, if peers are at other addresses now, tells all networks.
func (d *nodeDirectory) replace(byName map[string]nodeRecord, rev store.Rev) {
	d.mu.Lock()
	changed := !maps.EqualFunc(d.byName, byName, func(a, b nodeRecord) bool { return a.VTEP == b.VTEP && a.MTU == b.MTU })
	d.byName, d.rev = byName, rev
	var told []*membership
	for m := range d.subscribers {
		told = append(told, m)
	}
	d.mu.Unlock()
	if !changed {
		return
	}
	for _, m := range told {
		m.refresh()
	}
}

// nodes returns a copy of the directory.
func (d *nodeDirectory) nodes() map[string]nodeRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.byName)
}

func (d *nodeDirectory) subscribe(m *membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subscribers == nil {
		d.subscribers = make(map[*membership]bool)
	}
	d.subscribers[m] = true
}

func (d *nodeDirectory) unsubscribe(m *membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.subscribers, m)
}

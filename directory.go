package libcnm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm/store"
)

// A node whose lease has ended may live: its controller was stopped for long, or could not reach the store. It takes its
// name again within about a second of being able to. So its peers keep their flows for a grace period of a third of the
// lease's time, 10 s for the default 30 s, which has room for an election of etcd and a few failed attempts.
const (
	graceShare = 3
	// graceLooks is how many times in a row a store that answers must say that the node is gone, evenly spread over the
	// grace: a node cannot come back while the store is away.
	graceLooks = 3
)

// nodeDirectory follows the records of the cluster's nodes. Where there is no cluster it is not started, and empty.
type nodeDirectory struct {
	grace time.Duration
	left  chan struct{} // a node has departed; buffered, one is enough
	self  chan struct{} // this node's own record is gone; buffered, one is enough

	mu          sync.Mutex // guards everything below
	started     bool
	live        map[string]nodeRecord // by name
	departed    map[string]departure  // whose leases have ended, but which peers may still be sent to
	rev         store.Rev
	subscribers map[*membership]bool
}

// departure is a node whose lease has ended.
type departure struct {
	last nodeRecord
	gone int // looks in a row that found it gone
}

func newNodeDirectory(ttl time.Duration) *nodeDirectory {
	return &nodeDirectory{
		grace: ttl / graceShare, left: make(chan struct{}, 1), self: make(chan struct{}, 1),
		live: make(map[string]nodeRecord), departed: make(map[string]departure), subscribers: make(map[*membership]bool),
	}
}

// start reads the nodes and follows them until the controller closes.
func (d *nodeDirectory) start(ctx context.Context, c *NetworkController) error {
	if err := d.list(ctx, c); err != nil {
		return err
	}
	d.mu.Lock()
	d.started = true
	d.mu.Unlock()
	c.tasks.Go(func() { d.follow(c.background, c) })
	c.tasks.Go(func() { d.watchDeparted(c.background, c) })
	return nil
}

func (d *nodeDirectory) list(ctx context.Context, c *NetworkController) error {
	raws, rev, err := c.cluster.List(ctx, dirNodes)
	if err != nil {
		return err
	}
	live := make(map[string]nodeRecord)
	for _, raw := range raws {
		if name, ok := nodeOf(raw.Key); ok {
			live[name] = d.read(c, name, raw)
		}
	}
	d.replace(c, live, rev)
	return nil
}

// nodeOf is the node whose record has the key; false for a key that no node would have written, and none.
func nodeOf(key string) (string, bool) {
	name, ok := strings.CutPrefix(key, dirNodes)
	return name, ok && checkName("node name", name) == nil
}

// read decodes a node. One that cannot be read is what it was before, or a node of which nothing is known but that it
// lives: the others must be known all the same.
func (d *nodeDirectory) read(c *NetworkController, name string, raw store.Record) nodeRecord {
	s, err := decode[nodeRecord](raw)
	if err == nil {
		c.unreadableShared.forget(raw.Key)
		return s.value
	}
	c.unreadableShared.note(raw.Key, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.live[name]; ok {
		return known
	}
	return nodeRecord{Name: name}
}

func (d *nodeDirectory) follow(ctx context.Context, c *NetworkController) {
	for ctx.Err() == nil {
		err := d.watch(ctx, c)
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

func (d *nodeDirectory) watch(ctx context.Context, c *NetworkController) error {
	d.mu.Lock()
	after := d.rev
	d.mu.Unlock()
	for ev, err := range c.cluster.Watch(ctx, dirNodes, after) {
		if err != nil {
			return err
		}
		name, ok := nodeOf(ev.Key)
		if !ok {
			continue
		}
		d.take(c, name, ev)
	}
	return errors.New("watch ended")
}

// take merges one event.
func (d *nodeDirectory) take(c *NetworkController, name string, ev store.Event) {
	var turns turns
	if ev.Deleted {
		c.unreadableShared.forget(ev.Key)
		d.mu.Lock()
		d.lockedEnd(name, &turns)
	} else {
		rec := d.read(c, name, ev.Record)
		d.mu.Lock()
		d.lockedPut(name, rec, &turns)
	}
	d.rev = ev.Rev
	d.mu.Unlock()
	d.announce(c, &turns)
	if ev.Deleted && name == c.node.Name {
		signal(d.self)
	}
}

// replace takes a listing of all nodes.
func (d *nodeDirectory) replace(c *NetworkController, live map[string]nodeRecord, rev store.Rev) {
	var turns turns
	d.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(d.live)) {
		if _, lives := live[name]; !lives {
			d.lockedEnd(name, &turns)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		d.lockedPut(name, live[name], &turns)
	}
	d.rev = rev
	d.mu.Unlock()
	d.announce(c, &turns)
	if _, lives := live[c.node.Name]; !lives {
		signal(d.self)
	}
}

// turns are what has happened to nodes, by name.
type turns struct {
	gone  []string
	back  []string
	moved []string // at another address, or of another MTU, than was known; new ones too
}

// lockedPut notes that a node lives.
func (d *nodeDirectory) lockedPut(name string, is nodeRecord, to *turns) {
	was, known := d.live[name]
	if left, departed := d.departed[name]; departed {
		was, known = left.last, true
		delete(d.departed, name)
		to.back = append(to.back, name)
	}
	if !known || was.VTEP != is.VTEP || was.MTU != is.MTU {
		to.moved = append(to.moved, name)
	}
	d.live[name] = is
}

// lockedEnd notes that a node's lease has ended.
func (d *nodeDirectory) lockedEnd(name string, to *turns) {
	was, lived := d.live[name]
	if !lived {
		return
	}
	delete(d.live, name)
	d.departed[name] = departure{last: was}
	to.gone = append(to.gone, name)
}

// announce tells the networks with endpoints on nodes that are at another address now. Those of a node that departs are
// told later, if it does not come back.
func (d *nodeDirectory) announce(c *NetworkController, what *turns) {
	for _, name := range what.gone {
		c.log.Warn("lease of a node has ended", "node", name, "grace", d.grace)
	}
	for _, name := range what.back {
		c.log.Info("node is back before its peers gave it up", "node", name)
	}
	if len(what.gone) > 0 {
		signal(d.left)
	}
	d.tell(what.moved)
}

// tell makes the networks with endpoints on these nodes tell their drivers.
func (d *nodeDirectory) tell(nodes []string) {
	if len(nodes) == 0 {
		return
	}
	d.mu.Lock()
	told := slices.Collect(maps.Keys(d.subscribers))
	d.mu.Unlock()
	for _, m := range told {
		m.nodesChanged(nodes)
	}
}

// watchDeparted gives up the nodes that do not come back within the grace.
func (d *nodeDirectory) watchDeparted(ctx context.Context, c *NetworkController) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.left:
		}
		for waiting := d.departedNodes(); len(waiting) > 0 && ctx.Err() == nil; waiting = d.departedNodes() {
			pause(ctx, d.grace/graceLooks)
			d.giveUp(ctx, c, waiting)
		}
	}
}

func (d *nodeDirectory) departedNodes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.departed))
}

// giveUp looks once more for departed nodes, and tells the networks of those that were looked for often enough.
func (d *nodeDirectory) giveUp(ctx context.Context, c *NetworkController, waiting []string) {
	var lost []string
	for _, name := range waiting {
		_, err := c.cluster.Get(ctx, keyNodeRecord(name))
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		left, departed := d.departed[name]
		switch {
		case !departed:
		case !errors.Is(err, ErrNotFound): // it is back and the watch will say so, or the store is away and nobody can come back
			d.departed[name] = departure{last: left.last}
		case left.gone+1 < graceLooks:
			d.departed[name] = departure{last: left.last, gone: left.gone + 1}
		default:
			delete(d.departed, name)
			lost = append(lost, name)
		}
		d.mu.Unlock()
	}
	for _, name := range lost {
		c.log.Warn("node did not come back, nothing is sent to it any more", "node", name)
	}
	d.tell(lost)
}

// reachable returns the node if peers there may be sent to.
func (d *nodeDirectory) reachable(name string) (nodeRecord, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node, ok := d.live[name]
	if left, departed := d.departed[name]; departed {
		node, ok = left.last, true
	}
	return node, ok && node.VTEP.IsValid()
}

// lost reports whether the node's lease is known to have ended.
func (d *nodeDirectory) lost(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, lives := d.live[name]
	return d.started && !lives
}

func (d *nodeDirectory) subscribe(m *membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscribers[m] = true
}

func (d *nodeDirectory) unsubscribe(m *membership) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.subscribers, m)
}

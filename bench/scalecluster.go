package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// simWidth is how many nodes do something at once when all of them do. Each start is news for all others, which share
	// the CPUs here: with many at once, calls run out of time that would not on machines of their own.
	simWidth = 4
	simWait  = time.Minute
	fillTTL  = time.Hour
)

// simCluster is a number of nodes in this process, and an etcd in one of its own.
type simCluster struct {
	layout layout
	etcd   *testutil.EtcdCluster
	dir    string
	waves  *waves
	nodes  []*simNode

	mu  sync.RWMutex // guards ids
	ids map[drivers.NetworkID]int
}

// newSimCluster makes nodes that are not open yet. Their stores are in memory: hundreds of nodes that share one disk
// would wait for each other.
func newSimCluster(t testutil.TB, nodes int) *simCluster {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "scale")
	if err != nil {
		t.Fatalf("directory of the nodes: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the directory of the nodes: %v", err)
		}
	})
	c := &simCluster{
		layout: newLayout(nodes), dir: dir, waves: newWaves(), ids: make(map[drivers.NetworkID]int),
		etcd: testutil.StartEtcd(t, testutil.EtcdOptions{Fsync: true}),
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Errorf("close the nodes: %v", err)
		}
	})
	for i := range nodes {
		c.nodes = append(c.nodes, newSimNode(c, i))
	}
	return c
}

// close ends all nodes. The second time there is nothing to do.
func (c *simCluster) close() error {
	errs := make([]error, len(c.nodes))
	var group errgroup.Group
	group.SetLimit(simWidth)
	for i, n := range c.nodes {
		group.Go(func() error {
			errs[i] = n.close()
			return nil
		})
	}
	return errors.Join(group.Wait(), errors.Join(errs...))
}

// network is the number of a network.
func (c *simCluster) network(id drivers.NetworkID) (int, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	number, ok := c.ids[id]
	return number, ok
}

// each has all nodes do something, and returns how long it took each.
func (c *simCluster) each(ctx context.Context, do func(context.Context, *simNode) (time.Duration, error)) ([]time.Duration, error) {
	took := make([]time.Duration, len(c.nodes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(simWidth)
	for i, n := range c.nodes {
		group.Go(func() (err error) {
			if took[i], err = do(ctx, n); err != nil {
				err = fmt.Errorf("%s: %w", scaleNodeName(i), err)
			}
			return err
		})
	}
	return took, group.Wait()
}

// fill makes all networks and all endpoints of all nodes. Of these only a few run at a time, as otherwise the machine
// would be busy for minutes with telling nodes of each other's endpoints, one by one; when they start again they find all.
func (c *simCluster) fill(ctx context.Context) error {
	// What is not running for a while must not be given up for it.
	patience := libcnm.WithNodeTTL(fillTTL)
	first := c.nodes[0]
	if _, err := first.open(ctx, patience); err != nil {
		return err
	}
	if err := errors.Join(c.networks(ctx, first), first.close()); err != nil {
		return err
	}
	_, err := c.each(ctx, func(ctx context.Context, n *simNode) (time.Duration, error) {
		took, err := n.open(ctx, patience)
		if err != nil {
			return 0, err
		}
		return took, errors.Join(n.fill(ctx), n.close())
	})
	return err
}

func (c *simCluster) networks(ctx context.Context, by *simNode) error {
	for i := range c.layout.nodes {
		subnets := scaleSubnets(i)
		n, err := by.ctrl.NewNetwork(ctx, simInfo.Name, scaleNetworkName(i), libcnm.WithSubnet(subnets[0]), libcnm.WithSubnet(subnets[1]))
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.ids[drivers.NetworkID(n.ID())] = i
		c.mu.Unlock()
	}
	return nil
}

// count is what etcd says now.
func (c *simCluster) count(ctx context.Context) (etcdCount, error) {
	return countEtcd(ctx, c.etcd.Endpoints()[0])
}

// sum adds up a figure of all nodes.
func (c *simCluster) sum(of func(*simNode) int64) int64 {
	var sum int64
	for _, n := range c.nodes {
		sum += of(n)
	}
	return sum
}

// underlays gives this host the addresses of nodes.
func underlays(t testutil.TB, nodes int) {
	t.Helper()
	home := testutil.HomeNS(t)
	for i := range nodes {
		home.AddAddr(t, "lo", netip.PrefixFrom(scaleUnderlay(i), 32))
	}
}

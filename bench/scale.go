package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	restJoins = 200
	// churnLife is how long a container lives while they come and go, and so at which rate they do: 25 a second where
	// there are 30,000.
	churnLife = 20 * time.Minute
	churnFor  = 20 * time.Second
	// restartedJoins show that a cluster works after its rolling restart.
	restartedJoins = 20
)

// scale is how a cluster of one size behaves. Nodes are real controllers with a driver that programs memory; all of them
// and etcd share the CPUs of this machine, so times are upper bounds of what a cluster of machines needs.
type scale struct {
	Nodes     int     `json:"nodes"`
	Networks  int     `json:"networks"`
	Endpoints int     `json:"endpoints"`
	Start     rolling `json:"start_of_all_nodes"`
	Memory    int64   `json:"memory_per_node_bytes"`
	Rest      spread  `json:"at_rest"`
	Churn     spread  `json:"while_endpoints_come_and_go"`
	Rate      float64 `json:"endpoints_coming_and_going_per_s"`
	Restart   rolling `json:"rolling_restart"`
	Foreign   int64   `json:"driver_calls_and_events_of_foreign_networks"`
	Own       int64   `json:"driver_calls_and_events_of_own_networks"`
}

// spread is how the news of Joins gets around: from the call of Join, which begins with the commit, until the drivers
// of all other nodes of the network have been told.
type spread struct {
	Joins int           `json:"joins"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
	Etcd  etcdLoad      `json:"etcd"`
}

// rolling is a start or restart of all nodes, some at a time.
type rolling struct {
	Took     time.Duration `json:"all_nodes_ns"`
	P50      time.Duration `json:"node_p50_ns"`
	P99      time.Duration `json:"node_p99_ns"`
	Requests float64       `json:"etcd_requests_per_node"`
	Lists    float64       `json:"lists_per_node"`
	Told     float64       `json:"driver_calls_about_peers_per_node"`
	Etcd     etcdLoad      `json:"etcd"`
}

func measureScale(t testutil.TB, cfg config, to *results) {
	t.Helper()
	underlays(t, slices.Max(cfg.nodes))
	for _, nodes := range cfg.nodes {
		c := newSimCluster(t, nodes)
		s := scale{Nodes: nodes, Networks: len(c.layout.nodes)}
		if err := s.measure(t.Context(), cfg, c); err != nil {
			t.Fatalf("%d nodes: %v", nodes, err)
		}
		to.Scale = append(to.Scale, s)
		// The next size has the machine to itself.
		if err := c.close(); err != nil {
			t.Fatalf("close %d nodes: %v", nodes, err)
		}
		c.etcd.Kill(0)
	}
}

func (s *scale) measure(ctx context.Context, cfg config, c *simCluster) error {
	var before int64
	steps := []struct {
		name string
		do   func() error
	}{
		{"filled", func() error { return c.fill(ctx) }},
		{"started", func() (err error) {
			if before, err = ownMemory(); err != nil {
				return err
			}
			return s.Start.measure(ctx, c, func(ctx context.Context, n *simNode) (time.Duration, error) { return n.open(ctx) })
		}},
		{"measured at rest", func() error {
			after, err := ownMemory()
			s.Memory = (after - before) / int64(s.Nodes)
			s.Endpoints = s.Nodes * scalePerNode * scalePerNetwork
			return errors.Join(err, s.Rest.measure(ctx, c, func(ctx context.Context) ([]time.Duration, error) { return c.atRest(ctx, restJoins) }))
		}},
		{"measured while endpoints come and go", func() error {
			s.Rate = float64(s.Endpoints) / churnLife.Seconds()
			return s.Churn.measure(ctx, c, func(ctx context.Context) ([]time.Duration, error) { return c.churn(ctx, s.Rate) })
		}},
		{"restarted", func() error {
			return s.Restart.measure(ctx, c, func(ctx context.Context, n *simNode) (time.Duration, error) { return n.restart(ctx) })
		}},
		{"tried again", func() error {
			_, err := c.atRest(ctx, restartedJoins)
			return err
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("not %s: %w", step.name, err)
		}
		cfg.progress("scale: %d nodes %s", s.Nodes, step.name)
	}
	s.Foreign = c.sum(func(n *simNode) int64 { return n.foreign.Load() + n.traffic.foreign.Load() })
	s.Own = c.sum(func(n *simNode) int64 { return n.told.Load() + n.traffic.own.Load() })
	return nil
}

// ownMemory is what this process needs, without what it would give back.
func ownMemory() (int64, error) {
	debug.FreeOSMemory()
	return memoryOf(os.Getpid(), "VmRSS")
}

func (s *spread) measure(ctx context.Context, c *simCluster, joins func(context.Context) ([]time.Duration, error)) error {
	before, err := c.count(ctx)
	if err != nil {
		return err
	}
	took, err := joins(ctx)
	if err != nil {
		return err
	}
	after, err := c.count(ctx)
	if err != nil {
		return err
	}
	*s = spread{Joins: len(took), P50: median(took), P99: quantile(took, 0.99), Max: quantile(took, 1), Etcd: after.since(before)}
	return nil
}

// come brings up one more endpoint on any node, in any of its networks, waits until everybody knows and takes it down.
// Where is chosen by i: the same in every run.
func (c *simCluster) come(ctx context.Context, i int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, simWait)
	defer cancel()
	random := rand.New(rand.NewPCG(uint64(len(c.nodes)), uint64(i)))
	n := c.nodes[random.IntN(len(c.nodes))]
	name := fmt.Sprintf("x%d", i)
	w, err := n.up(ctx, c.layout.networks[n.number][random.IntN(scalePerNode)], name)
	if err != nil {
		return 0, err
	}
	took, err := c.waves.wait(ctx, w)
	return took, errors.Join(err, n.down(ctx, name))
}

// atRest has endpoints come, each when the one before is gone.
func (c *simCluster) atRest(ctx context.Context, joins int) ([]time.Duration, error) {
	var all []time.Duration
	for i := range joins {
		took, err := c.come(ctx, i)
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	return all, nil
}

// churn has endpoints come and go at a steady rate, however long each takes.
func (c *simCluster) churn(ctx context.Context, perSecond float64) ([]time.Duration, error) {
	all := make([]time.Duration, max(1, int(perSecond*churnFor.Seconds())))
	group, ctx := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for i := range all {
		group.Go(func() (err error) {
			all[i], err = c.come(ctx, i)
			return err
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, group.Wait()
		}
	}
	return all, group.Wait()
}

func (r *rolling) measure(ctx context.Context, c *simCluster, do func(context.Context, *simNode) (time.Duration, error)) error {
	lists := func(n *simNode) int64 { return n.traffic.lists.Load() }
	told := func(n *simNode) int64 { return n.told.Load() }
	listed, calls := c.sum(lists), c.sum(told)
	before, err := c.count(ctx)
	if err != nil {
		return err
	}
	took, err := c.each(ctx, do)
	if err != nil {
		return err
	}
	after, err := c.count(ctx)
	if err != nil {
		return err
	}
	nodes := float64(len(c.nodes))
	*r = rolling{
		Took: after.At.Sub(before.At), P50: median(took), P99: quantile(took, 0.99), Etcd: after.since(before),
		Requests: (after.Requests - before.Requests) / nodes,
		Lists:    float64(c.sum(lists)-listed) / nodes, Told: float64(c.sum(told)-calls) / nodes,
	}
	return nil
}

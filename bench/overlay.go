package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	overlayPackets  = 50  // whose latency is measured
	overlayReplies  = 500 // to the first packets of new endpoints
	overlayNetworks = 500

	// leaveToJoin is how long after one endpoint has gone the next one comes. With 60 ms replies used to be lost, 4 of 1,200: the
	// kernel is still removing the old device then, and ovs-vswitchd, which hears of it, makes its tables anew.
	leaveToJoin = 60 * time.Millisecond

	probeInterval = 2 * time.Millisecond
	probeFor      = 3 * time.Second
)

// overlay is what endpoints on ovs-vxlan cost, with etcd on disk, on OVS's userspace datapath.
type overlay struct {
	Up          summary       `json:"up"`
	Down        summary       `json:"down"`
	ParallelUp  summary       `json:"up_16_parallel"`
	FirstPacket summary       `json:"first_packet_to_a_new_peer"` // from the end of its Join
	Replies     int           `json:"replies_to_new_peers_asked_for"`
	Lost        int           `json:"replies_to_new_peers_lost"`
	Networks    int           `json:"networks"`
	NetworksUp  summary       `json:"network_and_endpoint_up_16_parallel"`
	AmongMany   time.Duration `json:"up_p50_among_networks_ns"` // one more endpoint, in one more network
	AmongFew    time.Duration `json:"up_p50_of_first_networks_ns"`
	Peers       peers         `json:"peers"`
}

func measureOverlay(t testutil.TB, cfg config) *overlay {
	t.Helper()
	needDisk(t, os.TempDir())
	rig := testutil.NewHosts(t, 4, testutil.HostsOptions{EtcdMembers: 1, Etcd: testutil.EtcdOptions{Fsync: true}})
	here := newLane(t, cfg, rig.Hosts[0], kindOverlay, rig.Etcd.Endpoints())
	there := newLane(t, cfg, rig.Hosts[1], kindOverlay, rig.Etcd.Endpoints())
	there.next = 1 << 14 // names are unique in the network
	here.open(t)
	there.open(t)
	here.up(t, 1, 1)
	there.up(t, 1, 1)

	o := &overlay{}
	var up, down, parallel series
	for rep := range cfg.reps {
		settle(t)
		b, took := here.up(t, sequentialBlock, 1)
		up.add(took)
		down.add(here.down(t, b))
		b, took = here.up(t, parallelBlock, parallelism)
		parallel.add(took)
		here.down(t, b)
		cfg.progress("overlay: round %d of %d", rep+1, cfg.reps)
	}
	o.Up, o.Down, o.ParallelUp = up.summary(), down.summary(), parallel.summary()
	o.firstPackets(t, here, there)
	cfg.progress("overlay: first packets measured")
	o.replies(t, cfg, here, there)
	cfg.progress("overlay: %d replies to new peers asked for", o.Replies)

	o.Peers = measurePeers(t, rig.Hosts[2])
	cfg.progress("overlay: IPv4 peers measured")
	o.networks(t, newLane(t, cfg, rig.Hosts[3], kindNetworks, rig.Etcd.Endpoints()))
	return o
}

// firstPackets measures, from the instant at which Join has returned on one host, when an endpoint on the other host first
// reaches the new one.
func (o *overlay) firstPackets(t testutil.TB, here, there *lane) {
	t.Helper()
	old := here.place(t, 0)
	oldNS := here.host.OpenNS(t, old.Path)
	var waits []time.Duration
	for range overlayPackets {
		b, _ := there.up(t, 1, 1)
		joined := time.Now()
		fresh := there.place(t, b.First)
		reached, err := firstAnswer(t.Context(), oldNS, fresh)
		if err != nil {
			t.Fatalf("first packet: %v", err)
		}
		waits = append(waits, reached.Sub(joined))
		there.down(t, b)
	}
	s := series{blocks: [][]time.Duration{waits}}
	o.FirstPacket = s.summary()
}

// replies counts whether the very first thing that a new endpoint sends, to an old one on the other host, is answered.
func (o *overlay) replies(t testutil.TB, cfg config, here, there *lane) {
	t.Helper()
	old := here.place(t, 0)
	for range overlayReplies {
		select {
		case <-time.After(leaveToJoin):
		case <-t.Context().Done():
		}
		b, _ := there.up(t, 1, 1)
		fresh := there.place(t, b.First)
		// The namespace is closed before the Leave: one that is open is not removed.
		err := testutil.Run(t.Context(), "bench reply to a new peer", cfg.log, func(t testutil.TB) {
			if _, err := testutil.Ping(t.Context(), there.host.OpenNS(t, fresh.Path), old.Addr); err != nil {
				o.Lost++
			}
		})
		if err != nil {
			t.Fatalf("%v", err)
		}
		o.Replies++
		there.down(t, b)
	}
}

// firstAnswer sends a ping every probeInterval until one is answered, and says when that was.
func firstAnswer(ctx context.Context, from *testutil.NS, to place) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	answered := make(chan time.Time, 1)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		probes.Go(func() {
			if _, err := testutil.Ping(ctx, from, to.Addr); err == nil {
				select {
				case answered <- time.Now():
				default: // an earlier one was first
				}
			}
		})
		select {
		case at := <-answered:
			return at, nil
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no answer from %s within %s: %w", to.Addr, probeFor, ctx.Err())
		case <-tick.C:
		}
	}
}

// networks brings up overlayNetworks networks with an endpoint in each on one node. The first and the last then get a second
// one, which the first one of each must reach.
func (o *overlay) networks(t testutil.TB, l *lane) {
	t.Helper()
	l.open(t)
	_, few := l.up(t, sequentialBlock, 1)
	_, took := l.up(t, overlayNetworks-2*sequentialBlock, parallelism)
	_, many := l.up(t, sequentialBlock, 1)
	var s series
	s.add(took)
	o.Networks, o.NetworksUp, o.AmongFew, o.AmongMany = l.next, s.summary(), median(few.Each), median(many.Each)

	for _, i := range []int{0, o.Networks - 1} {
		l.call(t, "up", block{First: i + secondEndpoint, Count: 1, Parallel: 1})
		from, to := l.place(t, i), l.place(t, i+secondEndpoint)
		ns := l.host.OpenNS(t, from.Path)
		testutil.Eventually(t, wayTimeout, func() error {
			if _, err := testutil.Ping(t.Context(), ns, to.Addr); err != nil {
				return fmt.Errorf("network %d of %d: %w", i+1, o.Networks, err)
			}
			return nil
		})
	}
}

func (r *results) judgeOverlay() {
	o := r.Overlay
	if o == nil {
		return
	}
	r.add(atMost("ovs-vxlan up, sequential", " ms", 30, float64(o.Up.P50)/1e6))
	r.add(atLeast("ovs-vxlan up, 16 parallel", " endpoints/s", 100, o.ParallelUp.Rate))
	r.add(atMost("first packet to a new peer, p99", " ms", 100, float64(o.FirstPacket.P99)/1e6))
	r.add(atMost(fmt.Sprintf("replies to brand-new peers lost, of %d", o.Replies), "", 0, float64(o.Lost)))
	r.add(atMost(fmt.Sprintf("programming %d IPv4 peers", o.Peers.Count), " s", 1, o.Peers.Took.Seconds()))
	r.add(atMost(fmt.Sprintf("memory for %d IPv4 peers, driver and switch", o.Peers.Count), " MiB", 100,
		float64(o.Peers.Driver+o.Peers.Switch)/(1<<20)))
}

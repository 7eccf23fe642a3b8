package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink" //nolint:depguard // the library has no neighbours that stay

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	restartEndpoints = 1000
	restartInterval  = time.Second // between two pings to one of them

	// Some, evenly spread, are pinged often enough to see a short gap.
	restartWatched  = 40
	watchedInterval = 20 * time.Millisecond

	// restartAfter is for how long pings go on after New, for what it leaves to the background.
	restartAfter = 2 * time.Second

	// restartTimeout is far above what all endpoints need to answer once.
	restartTimeout = 20 * time.Second
)

// restart is what happens when a controller with many endpoints is killed and the next one starts. All of them are pinged.
type restart struct {
	Endpoints int           `json:"endpoints"`
	New       time.Duration `json:"new_ns"` // until New has returned
	Sent      int           `json:"pings_sent"`
	Lost      int           `json:"pings_lost"`
}

func measureRestart(t testutil.TB, cfg config) *restart {
	t.Helper()
	l := newLanes(t, cfg, []string{kindLibcnm})[0]
	l.up(t, restartEndpoints, parallelism)
	all := introduce(t, cfg, l)
	var watched []netip.Addr
	for i := 0; i < len(all); i += len(all) / restartWatched {
		watched = append(watched, all[i])
	}
	sweeps := []*sweep{startSweep(t, l.host.NS, all, restartInterval), startSweep(t, l.host.NS, watched, watchedInterval)}
	answered := func(since time.Time) {
		for _, s := range sweeps {
			testutil.Eventually(t, restartTimeout, func() error { return s.answered(since) })
		}
	}
	answered(time.Time{})
	l.host.Restart(t)
	r := &restart{Endpoints: len(all), New: l.open(t)}
	answered(time.Now().Add(restartAfter))
	for _, s := range sweeps {
		sent, lost, err := s.end()
		if err != nil {
			t.Fatalf("ping during restart: %v", err)
		}
		r.Sent += sent
		r.Lost += lost
	}
	return r
}

// introduce makes the host and each endpoint of the lane know the other's MAC address for good, and returns the endpoints'
// addresses. Neighbours that are asked for would be too many: the kernel keeps 1,024 in all namespaces together
// (net.ipv4.neigh.default.gc_thresh3), beside those that stay. And each question is a broadcast to as many ports as there are
// endpoints, which is more than the kernel queues for a CPU (net.core.netdev_max_backlog); what it drops then may be the answer
// to another's ping.
func introduce(t testutil.TB, cfg config, l *lane) []netip.Addr {
	t.Helper()
	addrs := make([]netip.Addr, l.next)
	// The namespaces are closed before New is measured.
	err := testutil.Run(t.Context(), "bench introduce", cfg.log, func(t testutil.TB) {
		for i := range addrs {
			at := l.place(t, i)
			if err := introduceOne(t, l.host, at); err != nil {
				t.Fatalf("introduce %s: %v", at.Addr, err)
			}
			addrs[i] = at.Addr
		}
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return addrs
}

func introduceOne(t testutil.TB, host *testutil.Host, at place) error {
	ns := host.OpenNS(t, at.Path)
	sandbox, home := ns.Netlink(), host.NS.Netlink()
	eth0, err := sandbox.LinkByName(inside)
	if err != nil {
		return err
	}
	routes, err := home.RouteGet(at.Addr.AsSlice())
	if err != nil {
		return err
	}
	bridge, err := home.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return err
	}
	err = home.NeighSet(&netlink.Neigh{
		LinkIndex: bridge.Attrs().Index, State: netlink.NUD_PERMANENT, IP: at.Addr.AsSlice(), HardwareAddr: eth0.Attrs().HardwareAddr,
	})
	if err != nil {
		return err
	}
	err = sandbox.NeighSet(&netlink.Neigh{
		LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: routes[0].Src, HardwareAddr: bridge.Attrs().HardwareAddr,
	})
	if err != nil {
		return err
	}
	// The endpoint speaks first: a frame to a MAC address that the bridge has not seen goes to all ports as well.
	gateway, _ := netip.AddrFromSlice(routes[0].Src)
	_, err = testutil.Ping(t.Context(), ns, gateway.Unmap())
	return err
}

func (r *results) judgeRestart() {
	if r.Restart == nil {
		return
	}
	r.add(atMost(fmt.Sprintf("New with %d live endpoints", r.Restart.Endpoints), " s", 2, r.Restart.New.Seconds()))
	r.add(atMost(fmt.Sprintf("pings lost meanwhile, of %d to all of them", r.Restart.Sent), "", 0, float64(r.Restart.Lost)))
}

package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	restartEndpoints = 1000
	restartPinged    = 40 // of them, evenly spread
	restartInterval  = 20 * time.Millisecond
)

// restart is what happens when a controller with many endpoints is killed and the next one starts.
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
	var pinged []netip.Addr
	for i := 0; i < restartEndpoints; i += restartEndpoints / restartPinged {
		pinged = append(pinged, l.place(t, i).Addr)
	}
	// All are asked for their MAC addresses before the first is watched: a broadcast to as many ports as this is more than the
	// kernel queues for a CPU (net.core.netdev_max_backlog), and what it drops then may be another's answer.
	for _, addr := range pinged {
		if _, err := testutil.Ping(t.Context(), l.host.NS, addr); err != nil {
			t.Fatalf("before the restart: %v", err)
		}
	}
	var pingers []*testutil.Pinger
	for _, addr := range pinged {
		pingers = append(pingers, testutil.StartPinger(t, l.host.NS, addr, restartInterval))
	}
	l.host.Restart(t)
	r := &restart{Endpoints: restartEndpoints, New: l.open(t)}
	for _, p := range pingers {
		stats, err := p.Stop()
		if err != nil {
			t.Fatalf("ping during restart: %v", err)
		}
		r.Sent += stats.Sent
		r.Lost += stats.Sent - stats.Received
	}
	return r
}

func (r *results) judgeRestart() {
	if r.Restart == nil {
		return
	}
	r.add(atMost(fmt.Sprintf("New with %d live endpoints", r.Restart.Endpoints), " s", 2, r.Restart.New.Seconds()))
	r.add(atMost(fmt.Sprintf("pings lost meanwhile, of %d", r.Restart.Sent), "", 0, float64(r.Restart.Lost)))
}

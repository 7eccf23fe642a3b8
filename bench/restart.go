package main

import (
	"fmt"
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
	var pingers []*testutil.Pinger
	for i := 0; i < restartEndpoints; i += restartEndpoints / restartPinged {
		pingers = append(pingers, testutil.StartPinger(t, l.host.NS, l.place(t, i).Addr, restartInterval))
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

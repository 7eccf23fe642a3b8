package main

import (
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// growthStep is how many endpoints a contender adds before it is the next one's turn.
const growthStep = 20

// point is what an endpoint cost while Live others were there.
type point struct {
	Live int           `json:"live_endpoints"`
	Up   time.Duration `json:"up_p50_ns"`
}

// curve is a contender's latency against the number of its endpoints.
type curve struct {
	Kind   string  `json:"contender"`
	Points []point `json:"points"`
}

// measureGrowth lets every lane grow to cfg.grow endpoints, one after the other, and leaves them there.
func measureGrowth(t testutil.TB, cfg config, lanes []*lane) []curve {
	t.Helper()
	curves := make([]curve, len(lanes))
	settle(t)
	for live := 0; live < cfg.grow; live += growthStep {
		for i, l := range lanes {
			_, took := l.up(t, growthStep, 1)
			curves[i].Kind = l.kind
			curves[i].Points = append(curves[i].Points, point{Live: live, Up: median(took.Each)})
		}
		if live%200 == 0 {
			cfg.progress("growth: %d of %d endpoints", live, cfg.grow)
		}
	}
	return curves
}

// flatness is what the last endpoints cost, in terms of what the first did: medians of the first and last five steps.
func (c curve) flatness() float64 {
	const steps = 5
	if len(c.Points) < 2*steps {
		return 0
	}
	var first, last []time.Duration
	for _, p := range c.Points[:steps] {
		first = append(first, p.Up)
	}
	for _, p := range c.Points[len(c.Points)-steps:] {
		last = append(last, p.Up)
	}
	return float64(median(last)) / float64(median(first))
}

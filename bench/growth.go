package main

import (
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// growthStep is how many endpoints a point of a curve is the median of.
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

// measureGrowth lets each kind grow to cfg.grow endpoints, alone on the machine: what the kernel keeps of other namespaces and
// interfaces slows everybody down.
func measureGrowth(t testutil.TB, cfg config, kinds []string) []curve {
	t.Helper()
	curves := make([]curve, len(kinds))
	for i, kind := range kinds {
		err := testutil.Run(t.Context(), "bench growth of "+kind, cfg.log, func(t testutil.TB) {
			curves[i] = grow(t, cfg, newLanes(t, cfg, []string{kind})[0])
		})
		if err != nil {
			t.Fatalf("%v", err)
		}
		cfg.progress("growth: %s measured", kind)
	}
	return curves
}

func grow(t testutil.TB, cfg config, l *lane) curve {
	t.Helper()
	settle(t)
	c := curve{Kind: l.kind}
	for live := 0; live < cfg.grow; live += growthStep {
		_, took := l.up(t, growthStep, 1)
		c.Points = append(c.Points, point{Live: live, Up: median(took.Each)})
	}
	return c
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

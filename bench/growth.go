package main

import (
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// growthStep is how many endpoints a point of a curve is the median of.
	growthStep = 20

	// growthTime is for how long a contender grows again and again, once at least: a second in which the machine does something
	// else is a whole step of one that is fast.
	growthTime = 25 * time.Second
)

// point is what an endpoint cost while Live others were there.
type point struct {
	Live int           `json:"live_endpoints"`
	Up   time.Duration `json:"up_p50_ns"`
}

// curve is a contender's latency against the number of its endpoints.
type curve struct {
	Kind   string  `json:"contender"`
	Times  int     `json:"times"` // that it has grown
	Points []point `json:"points"`
}

// measureGrowth lets each kind grow to cfg.grow endpoints, alone on the machine: what the kernel keeps of other namespaces and
// interfaces slows everybody down.
func measureGrowth(t testutil.TB, cfg config, kinds []string) []curve {
	t.Helper()
	curves := make([]curve, len(kinds))
	for i, kind := range kinds {
		var grown []curve
		for start := time.Now(); len(grown) == 0 || time.Since(start) < growthTime; {
			err := testutil.Run(t.Context(), "bench growth of "+kind, cfg.log, func(t testutil.TB) {
				grown = append(grown, grow(t, cfg, newLanes(t, cfg, []string{kind})[0]))
			})
			if err != nil {
				t.Fatalf("%v", err)
			}
		}
		curves[i] = middleCurve(grown)
		cfg.progress("growth: %s measured, %d times", kind, len(grown))
	}
	return curves
}

// middleCurve has the median of each point of the curves, which are of one contender.
func middleCurve(grown []curve) curve {
	c := curve{Kind: grown[0].Kind, Times: len(grown)}
	for i, p := range grown[0].Points {
		ups := make([]time.Duration, len(grown))
		for k, g := range grown {
			ups[k] = g.Points[i].Up
		}
		c.Points = append(c.Points, point{Live: p.Live, Up: median(ups)})
	}
	return c
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

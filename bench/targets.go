package main

import (
	"fmt"
	"slices"
	"time"
)

// target is something that was promised, with what was measured.
type target struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Have string `json:"have"`
	Pass bool   `json:"pass"`
}

func atLeast(name, unit string, want, have float64) target {
	return target{Name: name, Want: fmt.Sprintf("≥ %.4g%s", want, unit), Have: fmt.Sprintf("%.3g%s", have, unit), Pass: have >= want}
}

func atMost(name, unit string, want, have float64) target {
	return target{Name: name, Want: fmt.Sprintf("≤ %.4g%s", want, unit), Have: fmt.Sprintf("%.3g%s", have, unit), Pass: have <= want}
}

// judge compares a run's figures with the targets. What was not measured is not judged.
func (r *results) judge() {
	r.Targets = nil
	r.judgeLifecycle()
	for _, c := range r.Growth {
		if f := c.flatness(); c.Kind == kindLibcnm && f > 0 {
			r.add(atMost(fmt.Sprintf("endpoint %d against the first", c.Points[len(c.Points)-1].Live+growthStep), "×", 1.3, f))
		}
	}
	r.judgeRestart()
	r.judgeOverlay()
	r.judgeTraffic()
	r.judgeScale()
}

// missed returns an error unless every target was met.
func (r *results) missed() error {
	missed := 0
	for _, t := range r.Targets {
		if !t.Pass {
			missed++
		}
	}
	if missed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d targets missed", missed, len(r.Targets))
}

func (r *results) add(t target) { r.Targets = append(r.Targets, t) }

func (r *results) row(kind string) (lifecycle, bool) {
	i := slices.IndexFunc(r.Lifecycle, func(l lifecycle) bool { return l.Kind == kind })
	if i < 0 {
		return lifecycle{}, false
	}
	return r.Lifecycle[i], true
}

func (r *results) judgeLifecycle() {
	own, ok := r.row(kindLibcnm)
	if !ok {
		return
	}
	if peer, ok := r.row(kindLibnetwork); ok {
		r.add(atLeast("up, sequential, faster than libnetwork", "×", 8, ratio(peer.Up.P50, own.Up.P50)))
		r.add(atLeast("up, 16 parallel, faster than libnetwork", "×", 8, own.ParallelUp.Rate/peer.ParallelUp.Rate))
	}
	if floor, ok := r.row(kindFloor); ok {
		r.add(atMost("up, sequential, of the floor's time", "×", 2.5, ratio(own.Up.P50, floor.Up.P50)))
		r.add(atMost("down, sequential, of the floor's time", "×", 1, ratio(own.Down.P50, floor.Down.P50)))
	}
	r.add(atLeast("up, 16 parallel", " endpoints/s", 150, own.ParallelUp.Rate))
	if own.Forks != nil {
		r.add(atMost("processes started per endpoint", "", 0, float64(*own.Forks)))
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

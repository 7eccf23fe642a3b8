package main

import (
	"fmt"
	"time"
)

// How much of what is built by hand is promised.
const (
	leastRate = 0.98
	mostTrip  = 1.02
)

// vague is how wide the interval around a ratio may be before it says little about a target of 2 %.
const vague = 0.1

// judgeTraffic judges the worst throughput and the worst round trip of each network and family. A target is missed when the
// run is sure of that; how sure it is stands beside the ratio.
func (r *results) judgeTraffic() {
	if r.Traffic == nil {
		return
	}
	var targets []target
	index := make(map[string]int)
	worst := make(map[string]float64)
	for _, c := range r.Traffic.Cells {
		t, margin := c.judge()
		i, ok := index[t.Name]
		switch {
		case !ok:
			index[t.Name] = len(targets)
			targets = append(targets, t)
		case margin < worst[t.Name]:
			targets[i] = t
		default:
			continue
		}
		worst[t.Name] = margin
	}
	r.Targets = append(r.Targets, targets...)
}

// judge also returns by how much the target is met at best; below zero it is missed.
func (c cell) judge() (t target, margin float64) {
	q := c.Ratio
	t = target{
		Name: fmt.Sprintf("%s, IPv%d, throughput of by hand", c.Own.Way, c.Own.Family), Want: fmt.Sprintf("≥ %.4g×", leastRate),
		Have: fmt.Sprintf("%s %.3f× (%.3f..%.3f)", c.Own.What, q.Median, q.Low, q.High),
	}
	margin = q.High - leastRate
	if c.Own.Unit == unitTrips {
		t.Name = fmt.Sprintf("%s, IPv%d, round trip of by hand", c.Own.Way, c.Own.Family)
		t.Want, margin = fmt.Sprintf("≤ %.4g×", mostTrip), mostTrip-q.Low
	}
	if q.High-q.Low > vague {
		t.Have += ", not sure"
	}
	t.Pass = margin >= 0
	return t, margin
}

func (r *results) printTraffic(p printer) {
	f := r.Traffic
	if f == nil {
		return
	}
	p("\ntraffic\tlibcnm\tp50\tp99\tlost\tby hand\tp50\tp99\tlost\tratio\tquartiles\t95 %% sure\tpairs of turns\t\n")
	for _, c := range f.Cells {
		q := c.Ratio
		p("%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%.3f\t%.3f..%.3f\t%.3f..%.3f\t%d\t\n",
			c.Own.name(), c.Own.value(), trip(c.Own.P50), trip(c.Own.P99), c.Own.Lost, c.Hand.value(), trip(c.Hand.P50), trip(c.Hand.P99), c.Hand.Lost,
			q.Median, q.Q1, q.Q3, q.Low, q.High, q.Pairs)
	}
	p("\nfor information\tcalm\tp50\tp99\t\n")
	for _, o := range f.Others {
		p("%s\t%s\t%s\t%s\t\n", o.name(), o.value(), trip(o.P50), trip(o.P99))
	}
	p("\nUDP round trip, µs, p50\ttables\tempty cache\tnew connection\tlater\tflows cached of %d connections\t\n", walkSamples)
	for _, w := range f.Walks {
		p("%s, IPv%d\t%d\t%s\t%s\t%s\t%d\t\n", w.Way, w.Family, w.Tables, us(w.Empty), us(w.New), us(w.Later), w.Flows)
	}
}

// value shows what a turn has shown in a unit that people read.
func (f figure) value() string {
	switch f.Unit {
	case unitBits:
		return fmt.Sprintf("%.0f Mbit/s", f.Calm/1e6)
	case unitPackets:
		return fmt.Sprintf("%.1f kpps", f.Calm/1e3)
	}
	return us(time.Duration(f.Calm)) + " µs"
}

// trip shows a round trip; rates have none.
func trip(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return us(d) + " µs"
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e3) }

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// How much of what is built by hand is promised.
const (
	leastRate = 0.98
	mostTrip  = 1.02
)

// judgeTraffic judges the worst throughput and the worst round trip of each network and family, by their medians. Beside the
// worst stands of how many the run is not sure.
func (r *results) judgeTraffic() {
	if r.Traffic == nil {
		return
	}
	groups := make(map[string][]cell)
	var names []string
	for _, c := range r.Traffic.Cells {
		name := c.target()
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], c)
	}
	for _, name := range names {
		r.add(judgeCells(name, groups[name]))
	}
}

// judgeCells judges the cells of one target.
func judgeCells(name string, cells []cell) target {
	worst := slices.MinFunc(cells, func(a, b cell) int { return cmp.Compare(a.margin(a.Ratio.Median), b.margin(b.Ratio.Median)) })
	q := worst.Ratio
	t := target{
		Name: name, Want: fmt.Sprintf("≥ %.4g×", leastRate), Pass: worst.margin(q.Median) >= 0,
		Have: fmt.Sprintf("%s %.3f× (%.3f..%.3f)", worst.Own.What, q.Median, q.Low, q.High),
	}
	if worst.Own.Unit == unitTrips {
		t.Want = fmt.Sprintf("≤ %.4g×", mostTrip)
	}
	unsure := 0
	for _, c := range cells {
		if !c.sure() {
			unsure++
		}
	}
	if unsure > 0 {
		t.Have += fmt.Sprintf(", %d of %d not sure", unsure, len(cells))
	}
	return t
}

// target names the one that the cell is judged by.
func (c cell) target() string {
	what := "throughput"
	if c.Own.Unit == unitTrips {
		what = "round trip"
	}
	return fmt.Sprintf("%s, IPv%d, %s of by hand", c.Own.Way, c.Own.Family, what)
}

// margin is by how much a ratio meets the cell's target; below zero it misses it.
func (c cell) margin(ratio float64) float64 {
	if c.Own.Unit == unitTrips {
		return mostTrip - ratio
	}
	return ratio - leastRate
}

// sure tells whether the whole interval around the median is on one side of the limit.
func (c cell) sure() bool { return (c.margin(c.Ratio.Low) >= 0) == (c.margin(c.Ratio.High) >= 0) }

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

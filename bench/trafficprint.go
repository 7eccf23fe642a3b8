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

func (r *results) judgeTraffic() {
	if r.Traffic == nil {
		return
	}
	for _, c := range r.Traffic.Cells {
		judge, want := atLeast, leastRate
		if c.Own.Unit == unitTrips {
			judge, want = atMost, mostTrip
		}
		got := judge(c.Own.name()+", of by hand", "×", want, c.Ratio.Median)
		got.Have = fmt.Sprintf("%.3f× (%.3f..%.3f)", c.Ratio.Median, c.Ratio.Low, c.Ratio.High)
		r.add(got)
	}
}

func (r *results) printTraffic(p printer) {
	f := r.Traffic
	if f == nil {
		return
	}
	p("\ntraffic\tlibcnm\tp99\tlost\tby hand\tp99\tlost\tratio\tquartiles\t95 %% sure\tpairs of turns\t\n")
	for _, c := range f.Cells {
		q := c.Ratio
		p("%s\t%s\t%s\t%d\t%s\t%s\t%d\t%.3f\t%.3f..%.3f\t%.3f..%.3f\t%d\t\n",
			c.Own.name(), c.Own.value(), p99(c.Own), c.Own.Lost, c.Hand.value(), p99(c.Hand), c.Hand.Lost,
			q.Median, q.Q1, q.Q3, q.Low, q.High, q.Pairs)
	}
	p("\nfor information\tmedian\tp99\t\n")
	for _, o := range f.Others {
		p("%s\t%s\t%s\t\n", o.name(), o.value(), p99(o))
	}
	p("\nUDP round trip, µs, p50\ttables\tempty cache\tnew connection\tlater\tflows cached of %d connections\t\n", walkSamples)
	for _, w := range f.Walks {
		p("%s, IPv%d\t%d\t%s\t%s\t%s\t%d\t\n", w.Way, w.Family, w.Tables, us(w.Empty), us(w.New), us(w.Later), w.Flows)
	}
}

// value shows a median in a unit that people read.
func (f figure) value() string {
	switch f.Unit {
	case unitBits:
		return fmt.Sprintf("%.0f Mbit/s", f.Median/1e6)
	case unitPackets:
		return fmt.Sprintf("%.1f kpps", f.Median/1e3)
	}
	return us(time.Duration(f.Median)) + " µs"
}

func p99(f figure) string {
	if f.Unit != unitTrips {
		return ""
	}
	return us(f.P99) + " µs"
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e3) }

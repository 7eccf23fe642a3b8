package main

import (
	"fmt"
	"strconv"
)

// printer writes one line of a table; columns end with a tab.
type printer func(format string, args ...any)

func (r *results) printLifecycle(p printer) {
	if len(r.Lifecycle) == 0 {
		return
	}
	p("\nbridge, ms\tup p50\tp99\tdown p50\tp99\tup/s\tdown/s\t16 parallel: up p50\tp99\tup/s\tdown p50\tdown/s\tforks\tpeak MiB\t\n")
	for _, l := range r.Lifecycle {
		p("%s\t%s\t%s\t%s\t%s\t%.1f\t%.1f\t%s\t%s\t%.1f\t%s\t%.1f\t%s\t%.0f\t\n", l.Kind, ms(l.Up.P50), ms(l.Up.P99), ms(l.Down.P50), ms(l.Down.P99),
			l.Up.Rate, l.Down.Rate, ms(l.ParallelUp.P50), ms(l.ParallelUp.P99), l.ParallelUp.Rate, ms(l.ParallelDown.P50), l.ParallelDown.Rate,
			l.forks(), mib(l.PeakMemory))
	}
	floor, ok := r.row(kindFloor)
	if !ok {
		return
	}
	p("\nin floors\tup\tdown\tup/s, 16 parallel\t\n")
	for _, l := range r.Lifecycle {
		p("%s\t%.2f\t%.2f\t%.2f\t\n", l.Kind, ratio(l.Up.P50, floor.Up.P50), ratio(l.Down.P50, floor.Down.P50), l.ParallelUp.Rate/floor.ParallelUp.Rate)
	}
}

func (l lifecycle) forks() string {
	if l.Forks == nil {
		return "-"
	}
	return strconv.Itoa(*l.Forks)
}

func (r *results) printGrowth(p printer) {
	if len(r.Growth) == 0 {
		return
	}
	p("\nup p50, ms, with")
	marks := []int{0, 100, 200, 400, 600, 800, 980}
	for _, live := range marks {
		p("\t%d live", live)
	}
	p("\tlast/first\ttimes\t\n")
	for _, c := range r.Growth {
		p("%s", c.Kind)
		for _, live := range marks {
			if i := live / growthStep; i < len(c.Points) {
				p("\t%s", ms(c.Points[i].Up))
			} else {
				p("\t-")
			}
		}
		p("\t%.2f\t%d\t\n", c.flatness(), c.Times)
	}
}

func (r *results) printRestart(p printer) {
	if s := r.Restart; s != nil {
		p("\nrestart, all pinged\tNew\tpings\tlost\t\n%d endpoints\t%.2f s\t%d\t%d\t\n", s.Endpoints, s.New.Seconds(), s.Sent, s.Lost)
	}
}

func (r *results) printOverlay(p printer) {
	o := r.Overlay
	if o == nil {
		return
	}
	p("\novs-vxlan, ms\tup p50\tp99\tdown p50\tp99\t16 parallel: up p50\tp99\tup/s\tfirst packet p50\tp99\treplies lost\t\n")
	p("etcd, userspace datapath\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%s\t%s\t%d of %d\t\n", ms(o.Up.P50), ms(o.Up.P99), ms(o.Down.P50), ms(o.Down.P99),
		ms(o.ParallelUp.P50), ms(o.ParallelUp.P99), o.ParallelUp.Rate, ms(o.FirstPacket.P50), ms(o.FirstPacket.P99), o.Lost, o.Replies)
	p("\nIPv4 peers\tall\tone change\tdriver MiB\tswitch MiB\t\n%d\t%s\t%s\t%.0f\t%.0f\t\n", o.Peers.Count, ms(o.Peers.Took), ms(o.Peers.OneMore),
		mib(o.Peers.Driver), mib(o.Peers.Switch))
	p("\nnetworks, each with an endpoint\tup/s, 16 parallel\tup p50 of the first\tof the last\t\n%d\t%.1f\t%s\t%s\t\n",
		o.Networks, o.NetworksUp.Rate, ms(o.AmongFew), ms(o.AmongMany))
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// ms shows nanoseconds as milliseconds.
func ms[T ~int64](ns T) string { return fmt.Sprintf("%.2f", float64(ns)/1e6) }

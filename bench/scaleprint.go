package main

import (
	"fmt"
	"time"
)

func (r *results) printScale(p printer) {
	if len(r.Scale) == 0 {
		return
	}
	p("\nJoin until all nodes of the network know, ms\tnetworks\tendpoints\tat rest: p50\tp99\tmax\tcoming and going/s\tp50\tp99\tmax\tMiB/node\t\n")
	for _, s := range r.Scale {
		p("%d nodes\t%d\t%d\t%s\t%s\t%s\t%.1f\t%s\t%s\t%s\t%.2f\t\n", s.Nodes, s.Networks, s.Endpoints,
			ms(s.Rest.P50), ms(s.Rest.P99), ms(s.Rest.Max), s.Rate, ms(s.Churn.P50), ms(s.Churn.P99), ms(s.Churn.Max),
			mib(s.Memory))
	}
	p("\netcd while endpoints come and go\trequests/s\tmessages out/s\tevents/s\tCPUs\twatchers\tstreams\tdatabase MiB\tmemory MiB\t\n")
	for _, s := range r.Scale {
		e := s.Churn.Etcd
		p("%d nodes\t%.0f\t%.0f\t%.0f\t%.2f\t%d\t%d\t%.1f\t%.0f\t\n", s.Nodes, e.Requests, e.Sent, e.Events, e.CPU, e.Watchers, e.Streams, mib(e.DB), mib(e.Memory))
	}
	p("\nnodes, %d at a time\tall, s\tone p50, ms\tp99\tetcd requests/node\tlists/node\tdriver calls/node\tetcd requests/s\tetcd CPUs\t\n", simWidth)
	for _, s := range r.Scale {
		for _, l := range []struct {
			name string
			rolling
		}{{"start", s.Start}, {"restart", s.Restart}} {
			p("%s of %d\t%.1f\t%s\t%s\t%.1f\t%.2f\t%.2f\t%.0f\t%.2f\t\n", l.name, s.Nodes, l.Took.Seconds(), ms(l.P50), ms(l.P99),
				l.Requests, l.Lists, l.Told, l.Etcd.Requests, l.Etcd.CPU)
		}
	}
	p("\nevents and driver calls\tof networks that the node is in\tof others\t\n")
	for _, s := range r.Scale {
		p("%d nodes\t%d\t%d\t\n", s.Nodes, s.Own, s.Foreign)
	}
}

// scaleGoal is how soon everybody is to know.
const scaleGoal = time.Second

func (r *results) judgeScale() {
	for _, s := range r.Scale {
		what := fmt.Sprintf("%d nodes, %d endpoints: ", s.Nodes, s.Endpoints)
		r.add(atMost(what+"Join until all know, p99, at rest", " s", scaleGoal.Seconds(), s.Rest.P99.Seconds()))
		r.add(atMost(what+"the same while endpoints come and go", " s", scaleGoal.Seconds(), s.Churn.P99.Seconds()))
		r.add(atMost(what+"work of nodes for networks they are not in", "", 0, float64(s.Foreign)))
	}
}

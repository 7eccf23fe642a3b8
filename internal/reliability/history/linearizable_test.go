package history_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

const (
	members     = 3
	controllers = 8
	perNode     = 2 // calls at a time to each controller
)

// TestNoDuplicateEver lets eight controller processes make and remove endpoints and networks on one etcd, of which the
// past is forgotten every 100 ms, while everything fails that can. What they were answered must be what one store with
// one client would answer, in some order; the records must agree, and nothing may be left.
func TestNoDuplicateEver(t *testing.T) {
	for i := range report.Pick(1, 20) {
		t.Run(fmt.Sprint("run", i+1), func(t *testing.T) {
			underFaults(t, report.Pick(1500, 10_000), report.Pick(5, len(faults)))
		})
	}
}

func underFaults(t *testing.T, calls, kinds int) {
	seed := chooseSeed(t)
	l := newLab(t, members, controllers, 1, seed, 0)
	r := newRun(l, perNode, seed)
	start := time.Now()
	r.start()
	compactions := r.compact(r.ctx)
	for i, f := range shuffled(l.random, kinds) {
		r.recorded(calls * (i + 1) / (kinds + 1))
		begin := time.Now()
		f.strike(r)
		r.settled()
		t.Logf("%s: %v", f.name, time.Since(begin).Round(time.Millisecond))
	}
	r.recorded(calls)
	r.stop()
	took := time.Since(start)
	leaks := r.finish()
	var unknown int64
	for _, n := range l.nodes {
		unknown += n.unknown.Load()
	}
	t.Logf("%d calls with a known outcome in %v, %d calls without an answer, %d compactions",
		r.history.Len(), took.Round(time.Millisecond), unknown, compactions.Load())
	duplicates := check(t, &r.history)
	report.Add(t, report.Figures{Operations: r.history.Len(), Faults: kinds, Duplicates: duplicates, Leaks: leaks})
}

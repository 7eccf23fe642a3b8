package history_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// The size of TestNoDuplicateEver.
const (
	members     = 3
	controllers = 8
	perNode     = 3 // calls at a time to each controller
)

// TestNoDuplicateEver lets eight controller processes make and remove endpoints and networks on one etcd, of which the
// past is forgotten every 100 ms, while everything fails that can. What they were answered must be what one store with
// one client would answer, in some order; the records must agree, and nothing may be left.
func TestNoDuplicateEver(t *testing.T) {
	t.Parallel()
	for i := range report.Pick(1, 20) {
		t.Run(fmt.Sprint("run", i+1), func(t *testing.T) {
			underFaults(t, report.Pick(1500, 10_000), report.Pick(5, len(faults)))
		})
	}
}

func underFaults(t *testing.T, calls, kinds int) {
	t.Parallel()
	seed := chooseSeed(t)
	l := newLab(t, labOptions{members: members, processes: controllers, seed: seed, wait: time.Second})
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
	tally := r.history.Tally()
	t.Logf("calls by outcome: %v", tally)
	for _, outcome := range []string{
		"acquire done", "acquire exists", "acquire exhausted", "acquire absent", "release done", "release in use", "find done", "find absent",
	} {
		if report.Full() && tally[outcome] == 0 {
			t.Errorf("no call ended with %q: the run is too tame", outcome)
		}
	}
	if least := int64(took / time.Second); compactions.Load() < least {
		t.Errorf("only %d compactions, want %d", compactions.Load(), least)
	}
	duplicates := check(t, &r.history)
	report.Add(t, report.Figures{Operations: r.history.Len(), Faults: kinds, Duplicates: duplicates, Leaks: leaks})
}

// TestSeededDuplicateIsFound lets one commit in ten forget its guards, which makes it give away what is owned: the
// check of TestNoDuplicateEver must see it.
func TestSeededDuplicateIsFound(t *testing.T) {
	t.Parallel()
	seed := chooseSeed(t)
	l := newLab(t, labOptions{members: 1, processes: 4, seed: seed, wait: patience, forgetful: 0.1})
	r := newRun(l, perNode, seed)
	r.names = 2 // so that much of what is asked for is owned
	r.start()
	// Some answers are so wrong that a worker ends the run.
	err := testutil.Wait(r.ctx, patience, func() error {
		if n := r.history.Len(); n < 1000 {
			return fmt.Errorf("only %d calls have an outcome", n)
		}
		return nil
	})
	if err != nil && context.Cause(r.ctx) == nil {
		t.Fatal(err)
	}
	r.cancel(context.Canceled)
	r.working.Wait()
	v := r.history.Check(patience)
	if len(v.Duplicates) == 0 {
		t.Errorf("no duplicate was found in %d calls, some of which gave away what was owned; %s", r.history.Len(), v)
		return
	}
	t.Logf("%d calls, %d duplicates, one is %s", r.history.Len(), len(v.Duplicates), v.Duplicates[0])
}

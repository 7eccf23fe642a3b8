package storefault

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	pingEvery   = 20 * time.Millisecond
	streamEvery = 100 * time.Millisecond
	// stall is how long traffic may stand still on a machine that is busy with everything else.
	stall = 5 * time.Second
)

// traffic is what goes on between boxes while a store fails.
//
// Across hosts it passes a tunnel of ovs-vswitchd's own datapath, which reads the host's addresses and routes anew whenever
// a link of the host comes or goes, and drops tunnel packets meanwhile, on a host without a controller too. So all of
// it must go on, what stays on a host without losing a packet at any time, and what crosses hosts without losing one
// while no call makes or removes a link: see calm. It is little traffic: a busy machine may leave ovs-vswitchd without a
// processor for a second, and what comes in meanwhile must fit into the 208 KiB of its sockets.
type traffic struct {
	w       *world
	pings   []string // of pingers: from whom to whom
	pingers []*testutil.Pinger
	routes  []string // of streams
	streams []*testutil.Stream
}

// traffic starts pings and streams between the pair in each home, the pair of each host in blue and, with across, each host
// and the next in blue.
func (w *world) traffic(t *testing.T, across bool) *traffic {
	t.Helper()
	tr := &traffic{w: w}
	for i, h := range w.Hosts {
		for _, pair := range [][2]*box{{w.boxes["a"+home(h)], w.boxes["b"+home(h)]}, {w.on(h, "a"), w.on(h, "b")}} {
			tr.ping(t, pair[0], pair[1])
			tr.stream(t, pair[0], pair[1])
		}
		if across {
			tr.stream(t, w.on(h, "a"), w.next(i, "b"))
		}
	}
	return tr
}

// calm starts pings across hosts of which none may be lost, until the returned function is called. Until then, no call may
// make or remove a link.
func (w *world) calm(t *testing.T) (end func()) {
	t.Helper()
	// ovs-vswitchd looks at what changed last when it gets round to it, which on a busy machine is late.
	testutil.Eventually(t, settle, func() error { return w.lull(t) })
	tr := w.across(t)
	return func() { tr.stop(t) }
}

func (w *world) across(t *testing.T) *traffic {
	t.Helper()
	tr := &traffic{w: w}
	for i, h := range w.Hosts {
		tr.ping(t, w.on(h, "a"), w.next(i, "b"))
	}
	return tr
}

// lull reports packets across hosts that are lost within a while.
func (w *world) lull(t *testing.T) error {
	t.Helper()
	tr := w.across(t)
	wait(t, 2*hold)
	var errs []error
	for i, p := range tr.pingers {
		if s, err := p.Stop(); err != nil || s.Received < s.Sent {
			errs = append(errs, fmt.Errorf("%s: %v", tr.pings[i], s), err)
		}
	}
	return errors.Join(errs...)
}

func (tr *traffic) ping(t *testing.T, from, to *box) {
	t.Helper()
	for _, addr := range to.addrs {
		tr.pings = append(tr.pings, fmt.Sprintf("%s to %s (%s)", from.name, to.name, addr))
		tr.pingers = append(tr.pingers, testutil.StartPinger(t, from.ns, addr, pingEvery))
	}
}

func (tr *traffic) stream(t *testing.T, from, to *box) {
	t.Helper()
	for _, addr := range to.addrs {
		tr.routes = append(tr.routes, fmt.Sprintf("%s to %s (%s)", from.name, to.name, addr))
		tr.streams = append(tr.streams, testutil.StartStream(t, from.ns, to.ns, addr, streamEvery))
	}
}

// stop ends it and fails the test if a packet was lost or something stood still.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	// What is on its way on a busy machine is not lost yet.
	err := testutil.Wait(t.Context(), stall, tr.answered)
	if err != nil {
		t.Logf("%v", err)
	}
	stats, errs := make([]testutil.PingStats, len(tr.pingers)), make([]error, len(tr.pingers))
	var stopping sync.WaitGroup
	for i, p := range tr.pingers {
		stopping.Go(func() { stats[i], errs[i] = p.Stop() })
	}
	stopping.Wait()
	for i, s := range stats {
		err := errs[i]
		lost := max(0, s.Sent-s.Received)
		if err != nil || s.Longest > stall || lost > 0 {
			t.Errorf("%s: %v, %v", tr.pings[i], s, err)
		}
		tr.w.sum.Probes += s.Sent
		tr.w.sum.Lost += lost
		tr.w.sum.WorstStall = max(tr.w.sum.WorstStall, s.Longest)
	}
	for i, s := range tr.streams {
		longest, err := s.Stop()
		if err != nil || longest > stall {
			t.Errorf("%s: the TCP stream stood still for %v, %v", tr.routes[i], longest, err)
		}
		tr.w.sum.WorstStall = max(tr.w.sum.WorstStall, longest)
	}
}

// answered reports requests without an answer.
func (tr *traffic) answered() error {
	for i, p := range tr.pingers {
		if s := p.Stats(); s.Received < s.Sent {
			return fmt.Errorf("%s: %v", tr.pings[i], s)
		}
	}
	return nil
}

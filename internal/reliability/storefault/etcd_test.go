package storefault

import (
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	nodeTTL = 6 * time.Second
	quota   = 16 << 20 // bytes
	hold    = 500 * time.Millisecond
)

// fault is a way in which etcd fails.
type fault struct {
	name string
	// inject begins it. It makes no call that makes or removes a link.
	inject func(t *testing.T)
	// during makes calls while it lasts.
	during func(t *testing.T)
	heal   func(t *testing.T)
	// back waits until what another host did meanwhile has arrived. Nothing to wait for: nil.
	back func(t *testing.T)
	cut  bool // a host is taken for dead
}

// TestEtcdFails makes etcd fail in every way, one after the other, under traffic.
func TestEtcdFails(t *testing.T) {
	t.Parallel()
	for _, v6 := range report.Pick([]bool{false}, []bool{false, true}) {
		t.Run(fmt.Sprintf("IPv6 underlay %t", v6), func(t *testing.T) { etcdFails(t, v6) })
	}
}

func etcdFails(t *testing.T, v6 bool) {
	w := newWorld(t, report.Pick(2, 3), nodeTTL, testutil.HostsOptions{
		IPv6Underlay: v6, EtcdMembers: 3, Etcd: testutil.EtcdOptions{Quota: quota},
	})
	for round := range report.Pick(1, 3) {
		for _, f := range []fault{
			w.leaderKilled(), w.memberLost(), w.allLost(), w.cutShort(), w.cutLong(), w.compactedPast(), w.compactedPaused(),
			w.compactedAlways(), w.unregistered(), w.slowLeader(), w.quotaExceeded(),
		} {
			t.Run(fmt.Sprintf("round %d, %s", round+1, f.name), func(t *testing.T) { w.endure(t, &f) })
		}
	}
}

// endure lets a fault happen under traffic.
func (w *world) endure(t *testing.T, f *fault) {
	tr := w.traffic(t, !f.cut)
	calm := w.calm(t)
	f.inject(t)
	wait(t, hold)
	calm()
	w.sum.Faults++
	injected := time.Now()
	f.during(t)
	if !f.cut {
		calm = w.calm(t)
	}
	healed := time.Now()
	f.heal(t)
	if f.back != nil {
		f.back(t)
	}
	if !f.cut {
		calm()
	}
	w.sound(t) // by itself: nothing has been called for since the store works again
	repaired := time.Now()
	w.sum.WorstRepair = max(w.sum.WorstRepair, repaired.Sub(healed))
	w.follows(t)
	w.tidy(t)
	tr.stop(t)
	w.sound(t)
	t.Logf("calls went on for %v, back %v after it was healed, checked in %v",
		healed.Sub(injected), repaired.Sub(healed), time.Since(repaired))
}

// follows shows that what one host does is seen by the others: the spare endpoint joins on each and is reached from the next.
func (w *world) follows(t *testing.T) {
	t.Helper()
	for i, h := range w.Hosts {
		testutil.Eventually(t, settle, func() error { return h.Call(t.Context(), "join", spare(h), nil) })
		b := w.spareBox(t, h)
		testutil.Eventually(t, settle, func() error { return w.next(i, "a").reach(t, b) })
		must(t, h.Call(t.Context(), "leave", spare(h), nil))
	}
	for _, late := range w.lates {
		w.remove(t, late)
	}
	w.lates = nil
}

// spareBox is the spare endpoint while it is joined.
func (w *world) spareBox(t *testing.T, h *testutil.Host) *box {
	t.Helper()
	var list []nodeagent.Sandbox
	must(t, h.Call(t.Context(), "sandbox.list", nil, &list))
	b := &box{name: spare(h).Container}
	for _, sb := range list {
		if sb.Container == b.name && len(sb.Endpoints) == 1 {
			for _, p := range sb.Endpoints[0].Addresses {
				b.addrs = append(b.addrs, p.Addr())
			}
		}
	}
	if len(b.addrs) != 2 {
		t.Fatalf("the spare endpoint on %s has addresses %s: %+v", h.Name, b.addrs, list)
	}
	return b
}

// late makes a box on the second host.
func (w *world) late(t *testing.T) {
	t.Helper()
	w.serial++
	w.lates = append(w.lates, w.box(t, w.Hosts[1], blue, fmt.Sprint("late", w.serial)))
}

// arrived waits, with no call to a controller, until the first host reaches the boxes that the second made meanwhile.
func (w *world) arrived(t *testing.T) {
	t.Helper()
	for _, late := range w.lates {
		testutil.Eventually(t, settle, func() error { return w.on(w.Hosts[0], "a").reach(t, late) })
	}
}

// wait passes the time that a fault is to last.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

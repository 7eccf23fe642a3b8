package storefault

import (
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

func (w *world) leaderKilled() fault {
	var leader int
	return fault{
		name:   "leader killed",
		inject: func(t *testing.T) { leader = w.Etcd.Leader(t.Context(), t); w.Etcd.Kill(leader) },
		during: func(t *testing.T) { w.tryAll(t, w.Hosts...); w.late(t) }, // the others have elected one by then
		heal:   func(*testing.T) { w.Etcd.Start(leader) },
		back:   w.arrived,
	}
}

func (w *world) memberLost() fault {
	var lost int
	return fault{
		name:   "member lost",
		inject: func(t *testing.T) { lost = (w.Etcd.Leader(t.Context(), t) + 1) % 3; w.Etcd.Kill(lost) },
		during: func(t *testing.T) { w.tryAll(t, w.Hosts...); w.late(t) },
		heal:   func(*testing.T) { w.Etcd.Start(lost) },
		back:   w.arrived,
	}
}

func (w *world) allLost() fault {
	return fault{
		name: "all members lost",
		inject: func(*testing.T) {
			for i := range 3 {
				w.Etcd.Kill(i)
			}
		},
		during: func(t *testing.T) {
			until := time.Now().Add(report.Pick(0, 2*w.ttl)) // without members no lease ends
			for first := true; first || time.Now().Before(until); first = false {
				if n := w.tryAll(t, w.Hosts...); n > 0 {
					t.Errorf("%d calls succeeded without etcd", n)
				}
			}
		},
		heal: func(*testing.T) { w.Etcd.Start() },
	}
}

// slowLeader stops the leader for most of the time, each time for less than the others wait before they elect another.
func (w *world) slowLeader() fault {
	var bursts sync.WaitGroup
	stop := make(chan struct{})
	return fault{
		name: "slow leader",
		inject: func(t *testing.T) {
			leader := w.Etcd.Leader(t.Context(), t)
			bursts.Go(func() {
				for {
					w.Etcd.Pause(leader)
					wait(t, 300*time.Millisecond)
					w.Etcd.Resume(leader)
					select {
					case <-time.After(50 * time.Millisecond):
					case <-stop:
						return
					}
				}
			})
		},
		during: func(t *testing.T) {
			for start := time.Now(); time.Since(start) < report.Pick(time.Second, 15*time.Second); {
				w.tryAll(t, w.Hosts...)
			}
		},
		heal: func(*testing.T) { close(stop); bursts.Wait() },
	}
}

// quotaExceeded fills etcd until it refuses to write, and empties it as its manual says.
func (w *world) quotaExceeded() fault {
	return fault{
		name:   "quota exceeded",
		inject: w.fill,
		during: func(t *testing.T) {
			for _, h := range w.Hosts {
				w.do(t, h, "endpoint.info", nodeEndpoint(blue, "a"+h.Name)) // reading goes on
				if w.try(t, h, "join", spare(h)) {
					t.Errorf("join on %s succeeded although etcd is full", h.Name)
				}
			}
			w.tryAll(t, w.Hosts...)
		},
		heal: w.empty,
	}
}

const filler = "/filler/"

func (w *world) fill(t *testing.T) {
	t.Helper()
	client, ctx := w.Etcd.Client(t), t.Context()
	// Large values first, then small ones: those still fit when the first large one does not.
	for _, value := range []string{strings.Repeat("x", 512<<10), "x"} {
		for i := range 4096 {
			_, err := client.Put(ctx, filler+string(rune('a'+i%26))+value[:1]+time.Now().String(), value)
			if err == nil {
				continue
			}
			if !strings.Contains(err.Error(), "space exceeded") {
				t.Fatalf("fill etcd: %v", err)
			}
			break
		}
	}
}

func (w *world) empty(t *testing.T) {
	t.Helper()
	client, ctx := w.Etcd.Client(t), t.Context()
	_, err := client.Delete(ctx, filler, clientv3.WithPrefix())
	must(t, err)
	must(t, compact(ctx, client))
	for _, member := range w.Etcd.Endpoints() {
		_, err := client.Defragment(ctx, member)
		must(t, err)
	}
	alarms, err := client.AlarmList(ctx)
	must(t, err)
	if len(alarms.Alarms) == 0 {
		t.Error("etcd was not full: the test does not test")
	}
	for _, a := range alarms.Alarms {
		_, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: a.MemberID, Alarm: a.Alarm})
		must(t, err)
	}
}

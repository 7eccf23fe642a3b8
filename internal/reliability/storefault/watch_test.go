package storefault

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// cut keeps the first host from etcd and from nothing else. Silently: what it sends vanishes; else its connections are reset.
func (w *world) cut(t *testing.T, silently bool) (heal func(*testing.T)) {
	t.Helper()
	verdict := []string{"-j", "REJECT", "--reject-with", "tcp-reset"}
	if silently {
		verdict = []string{"-j", "DROP"}
	}
	member, err := url.Parse(w.Etcd.Endpoints()[0])
	must(t, err)
	rule := append([]string{"INPUT", "-s", w.Hosts[0].Addr4.String(), "-p", "tcp", "--dport", member.Port()}, verdict...)
	apply := func(t *testing.T, action string) {
		t.Helper()
		if out, err := w.Underlay.Command("iptables", append([]string{"--wait", action}, rule...)...).CombinedOutput(); err != nil {
			t.Fatalf("iptables %s: %v: %s", action, err, out)
		}
	}
	apply(t, "-I")
	return func(t *testing.T) { apply(t, "-D") }
}

// cutShort: nobody notices but who calls.
func (w *world) cutShort() fault {
	var heal func(*testing.T)
	return fault{
		name:   "node cut off, shorter than its lease",
		inject: func(t *testing.T) { heal = w.cut(t, true) },
		during: func(t *testing.T) {
			w.late(t)
			if w.try(t, w.Hosts[0], "endpoint.info", nodeEndpoint(blue, "a"+w.Hosts[0].Name)) {
				t.Errorf("%s reads from etcd, from which it is cut off", w.Hosts[0].Name)
			}
		},
		heal: func(t *testing.T) { heal(t) },
		back: w.arrived,
	}
}

// cutLong: within the lease everything goes on. Then the others take the node for dead and stop sending to it; when it is
// back, so is the traffic.
func (w *world) cutLong() fault {
	var heal func(*testing.T)
	near, far := w.on(w.Hosts[0], "a"), w.on(w.Hosts[1], "a")
	return fault{
		name: "node cut off, longer than its lease",
		cut:  true,
		inject: func(t *testing.T) {
			heal = w.cut(t, true)
			// The lease is kept alive every third of the TTL; two thirds and the grace of one are left in the worst case.
			wait(t, w.ttl*2/3-hold)
		},
		during: func(t *testing.T) {
			start := time.Now()
			if n := w.tryAll(t, w.Hosts[0]); n > 0 {
				t.Errorf("%d calls succeeded without etcd", n)
			}
			testutil.Eventually(t, settle, func() error {
				if err := far.reach(t, near); err == nil {
					return errors.New("the node is still sent to")
				}
				return nil
			})
			t.Logf("TTL %v, not sent to any more %v after two thirds of it", w.ttl, time.Since(start).Round(100*time.Millisecond))
			w.late(t)
		},
		heal: func(t *testing.T) { heal(t) },
		back: func(t *testing.T) {
			testutil.Eventually(t, settle, func() error { return far.reach(t, near) })
			w.arrived(t)
		},
	}
}

// unregistered: the node registers again at once, so nobody stops sending to it.
func (w *world) unregistered() fault {
	return fault{
		name: "lease revoked, record deleted",
		inject: func(t *testing.T) {
			key := "/libcnm/nodes/" + w.Hosts[0].Name
			for range 3 {
				w.unregister(t, key, func(client *clientv3.Client, lease clientv3.LeaseID) error {
					_, err := client.Revoke(t.Context(), lease)
					return err
				})
				w.unregister(t, key, func(client *clientv3.Client, _ clientv3.LeaseID) error {
					_, err := client.Delete(t.Context(), key)
					return err
				})
			}
		},
		during: func(t *testing.T) { w.tryAll(t, w.Hosts[0]); w.late(t) },
		heal:   func(*testing.T) {},
		back:   w.arrived,
	}
}

// unregister takes a node's record away and waits until it is there again, under another lease.
func (w *world) unregister(t *testing.T, key string, take func(*clientv3.Client, clientv3.LeaseID) error) {
	t.Helper()
	client := w.Etcd.Client(t)
	got, err := client.Get(t.Context(), key)
	must(t, err)
	if len(got.Kvs) != 1 || got.Kvs[0].Lease == 0 {
		t.Fatalf("%s has %d records: %v", key, len(got.Kvs), got.Kvs)
	}
	old := got.Kvs[0].Lease
	must(t, take(client, clientv3.LeaseID(old)))
	testutil.Eventually(t, settle, func() error {
		got, err := client.Get(t.Context(), key)
		if err == nil && (len(got.Kvs) != 1 || got.Kvs[0].Lease == old) {
			err = errors.New("the node has not registered again")
		}
		return err
	})
}

// compact forgets all revisions but the last.
func compact(ctx context.Context, client *clientv3.Client) error {
	now, err := client.Get(ctx, "/libcnm/")
	if err != nil {
		return err
	}
	_, err = client.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	return err
}

// missed changes blue on the second host and compacts what the first would have to read of it.
func (w *world) missed(t *testing.T) {
	t.Helper()
	w.late(t)
	for range 3 {
		must(t, w.Hosts[1].Call(t.Context(), "join", spare(w.Hosts[1]), nil))
		must(t, w.Hosts[1].Call(t.Context(), "leave", spare(w.Hosts[1]), nil))
	}
	must(t, compact(t.Context(), w.Etcd.Client(t)))
}

// compactedPast: what the first host's watches have to resume from is not there any more.
func (w *world) compactedPast() fault {
	var heal func(*testing.T)
	var before int
	return fault{
		name: "compacted past a watch",
		inject: func(t *testing.T) {
			before = w.logged(t, "revision compacted")
			heal = w.cut(t, false)
		},
		during: w.missed,
		heal:   func(t *testing.T) { heal(t) },
		back: func(t *testing.T) {
			w.arrived(t)
			if w.logged(t, "revision compacted") <= before {
				t.Error("no watch had to resume from a compacted revision: the test does not test")
			}
		},
	}
}

// logged counts lines of the first host's controller.
func (w *world) logged(t *testing.T, part string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.Hosts[0].Dir, "agent.log"))
	must(t, err)
	return strings.Count(string(text), part)
}

// compactedPaused: the process is stopped while it happens, for less than its lease.
func (w *world) compactedPaused() fault {
	return fault{
		name:   "compacted while the controller stands still",
		inject: func(t *testing.T) { w.Hosts[0].Pause(t) },
		during: w.missed,
		heal:   func(t *testing.T) { w.Hosts[0].Resume(t) },
		back:   w.arrived,
	}
}

// compactedAlways compacts every 100 ms while all hosts work.
func (w *world) compactedAlways() fault {
	var compacting sync.WaitGroup
	stop := make(chan struct{})
	return fault{
		name: "compacted all the time",
		inject: func(t *testing.T) {
			client := w.Etcd.Client(t)
			compacting.Go(func() {
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					// Nothing new since the last time is an answer too.
					if err := compact(t.Context(), client); err != nil && !strings.Contains(err.Error(), "compacted") {
						t.Errorf("compact: %v", err)
					}
				}
			})
		},
		during: func(t *testing.T) {
			for start := time.Now(); time.Since(start) < report.Pick(time.Second, 10*time.Second); {
				w.tryAll(t, w.Hosts...)
				w.late(t)
			}
		},
		heal: func(*testing.T) { close(stop); compacting.Wait() },
		back: w.arrived,
	}
}

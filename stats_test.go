package libcnm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestDriftIsVisible damages the host in every way that repairs are set off by. Check names what differs and changes
// nothing, and each repair is counted and logged once, with its cause.
func TestDriftIsVisible(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	log, logs := testutil.NewLogs(t)
	var ep *libcnm.Endpoint
	var c *libcnm.NetworkController
	open := func(interval time.Duration) {
		c = f.open(t, libcnm.WithLogger(log), libcnm.WithCheckInterval(interval))
	}
	id := func() drivers.EndpointID { return drivers.EndpointID(ep.ID()) }
	repaired := func(cause string, total libcnm.Stats) {
		t.Helper()
		testutil.Eventually(t, settle, func() error {
			if s := c.Stats(); s.ByCause[cause] == 0 {
				return fmt.Errorf("nothing repaired because of %q: %+v", cause, s)
			}
			return nil
		})
		s := c.Stats()
		if s.LastRepair.IsZero() || time.Since(s.LastRepair) > time.Minute || s.Rounds == 0 && cause != libcnm.CauseStart {
			t.Errorf("%s: %+v", cause, s)
		}
		s.LastRepair, s.Rounds = time.Time{}, 0
		if diff := cmp.Diff(total, s); diff != "" {
			t.Errorf("%s: stats (-want +got):\n%s", cause, diff)
		}
		if n := strings.Count(logs.String(), fmt.Sprintf("cause=%q", cause)) + strings.Count(logs.String(), "cause="+cause+" "); n != int(total.ByCause[cause]) {
			t.Errorf("%d lines of the log are about %q, want %d", n, cause, total.ByCause[cause])
		}
		if drift, err := c.Check(ctx); err != nil || len(drift) > 0 {
			t.Errorf("%s: Check after the repair: %v, %v", cause, drift, err)
		}
	}
	count := func(kind string, n int64, cause string, total int64) libcnm.Stats {
		return libcnm.Stats{Repairs: total, ByObject: map[string]int64{kind: n}, ByCause: map[string]int64{cause: total}}
	}

	open(time.Hour)
	n := newNetwork(t, c, "web")
	ep = newEndpoint(t, n, "a")
	sb, err := c.NewSandbox(ctx, "container1")
	must(t, err)
	must(t, ep.Join(ctx, sb))
	if diff := cmp.Diff(libcnm.Stats{}, c.Stats()); diff != "" {
		t.Errorf("stats of a controller that had nothing to do:\n%s", diff)
	}
	whole := f.host.Dump("fake")
	f.host.LoseEndpoint(id())
	damaged := f.host.Dump("fake")
	for range 2 {
		drift, err := c.Check(ctx)
		must(t, err)
		if len(drift) == 0 {
			t.Error("Check finds nothing")
		}
		for _, d := range drift {
			if d.Driver != "fake" || string(d.Network) != n.ID() || d.Object == "" || d.Want == "" || d.Have != "" {
				t.Errorf("Check says %+v", d)
			}
		}
	}
	if after := f.host.Dump("fake"); after != damaged || c.Stats().Repairs != 0 {
		t.Errorf("Check changed the host from\n%s to\n%s", damaged, after)
	}
	must(t, c.Reconcile(ctx))
	if after := f.host.Dump("fake"); after != whole {
		t.Errorf("after Reconcile:\n%s\nwant\n%s", after, whole)
	}
	// Two halves of the endpoint, and for each of its two addresses and its MAC where frames go.
	asked := count("fake endpoint", 2, libcnm.CauseAsked, 5)
	asked.ByObject["fake forward"] = 3
	repaired(libcnm.CauseAsked, asked)

	f.host.Lose("switch restarted")
	event := asked
	event.Repairs += 6 // the network too
	event.ByObject = map[string]int64{"fake endpoint": 4, "fake forward": 6, "fake network": 1}
	event.ByCause = map[string]int64{libcnm.CauseAsked: 5, libcnm.CauseDriver: 6}
	repaired(libcnm.CauseDriver, event)
	must(t, logs.Contains("switch restarted", "detail=", "object=network"))
	must(t, c.Close())

	f.host.LoseEndpoint(id())
	open(100 * time.Millisecond)
	start := count("fake endpoint", 2, libcnm.CauseStart, 5)
	start.ByObject["fake forward"] = 3
	repaired(libcnm.CauseStart, start)

	f.host.LoseEndpoint(id())
	later := start
	later.Repairs, later.ByObject = 10, map[string]int64{"fake endpoint": 4, "fake forward": 6}
	later.ByCause = map[string]int64{libcnm.CauseStart: 5, libcnm.CauseInterval: 5}
	repaired(libcnm.CauseInterval, later)
	must(t, lookup(t, c, "container1").Delete(ctx))
}

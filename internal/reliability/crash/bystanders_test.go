package crash

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// pingEvery is the bystanders' interval.
const pingEvery = 20 * time.Millisecond

// bystanders are sandboxes that ping each other during all cases, in both families: two on main for each driver, and,
// on etcd, from main to another host.
type bystanders struct {
	pings []*bystanding
	idle  *idle
}

// bystanding is one of the pings.
//
// Those across hosts pass a tunnel of ovs-vswitchd's own datapath, which forgets the host's addresses and routes and reads
// them again whenever any link or address of the host changes, and drops tunnel packets meanwhile: `ip link add` and `ip
// link delete` of a veth, on a host without a controller, lose one packet in fifty. So what they lose is not a finding; that
// they go on is, and how long they stop.
type bystanding struct {
	name   string
	across bool // hosts
	*testutil.Pinger
	lost    int // seen so far
	excused int // of these
}

// stall is how long pings across hosts may stop beyond what a busy machine makes of those within one.
const stall = 5 * time.Second

func newBystanders(t *testing.T, l *lane) bystanders {
	t.Helper()
	var b bystanders
	make := func(h *testutil.Host, driver, name string) joined {
		var at joined
		l.call(t, h, "bystand", task{Operation: name, Driver: driver, At: l.at[h]}, &at)
		return at
	}
	ping := func(what string, across bool, from joined, to []netip.Addr) {
		ns := l.main.OpenNS(t, from.Key)
		for _, a := range to {
			must(t, reach(t, ns, a))
			name := fmt.Sprintf("%s, to %s", what, a)
			b.pings = append(b.pings, &bystanding{name: name, across: across, Pinger: testutil.StartPinger(t, ns, a, pingEvery)})
		}
	}
	for _, driver := range driverNames {
		one, two := make(l.main, driver, "one"), make(l.main, driver, "two")
		ping(driver, false, one, two.Reach)
		if l.other != nil && driver == "ovs-vxlan" {
			ping(driver+" across hosts", true, two, make(l.other, driver, "three").Reach)
		}
	}
	return b
}

// check complains of pings that were lost since the last time, unless the machine lost them. A moment in which none is on its
// way tells.
func (b *bystanders) check(t *testing.T) {
	t.Helper()
	excuse := b.idle.excuse(t)
	for _, p := range b.pings {
		if p.across {
			continue
		}
		fewest := math.MaxInt
		err := testutil.Wait(t.Context(), time.Second, func() error {
			s := p.Stats()
			if fewest = min(fewest, s.Sent-s.Received-p.lost); fewest > 0 {
				return errors.New("not all are answered")
			}
			return nil
		})
		switch {
		case err == nil:
		case excuse != "":
			p.excused += fewest
			t.Logf("bystanders, %s: %d pings lost, but %s", p.name, fewest, excuse)
		default:
			t.Errorf("bystanders, %s: %d pings lost", p.name, fewest)
		}
		if err != nil {
			p.lost += fewest
		}
	}
}

// stop ends the pings and adds them up.
func (b *bystanders) stop(t *testing.T, f *report.Figures) {
	t.Helper()
	var within, across time.Duration
	for _, p := range b.pings {
		stats, err := p.Stop()
		if err != nil {
			t.Errorf("bystanders, %s: %v", p.name, err)
		}
		t.Logf("bystanders, %s: %v", p.name, stats)
		f.Probes += stats.Sent
		if p.across {
			across = max(across, stats.Longest)
			continue
		}
		within = max(within, stats.Longest)
		f.Excused += p.excused
		if lost := stats.Sent - stats.Received - p.excused; lost > 0 {
			f.Lost += lost
			t.Errorf("bystanders, %s: %d pings lost", p.name, lost)
		}
	}
	f.WorstStall = max(within, across)
	if across > within+stall {
		t.Errorf("bystanders across hosts were silent for %v, those within one for %v", across, within)
	}
}

// reach waits for an answer from an address.
func reach(t *testing.T, from *testutil.NS, to netip.Addr) error {
	return testutil.Wait(t.Context(), patience, func() error {
		_, err := testutil.Ping(t.Context(), from, to)
		return err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package hostfault

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// bare is a switch of nobody's, that forwards between two namespaces by itself.
type bare struct {
	ovs  *testutil.OVS
	from *testutil.NS
	to   netip.Addr
}

func newBare(t *testing.T) *bare {
	t.Helper()
	b := &bare{ovs: testutil.StartOVS(t, testutil.OVSOptions{}), from: testutil.NewNS(t), to: netip.MustParseAddr("198.18.0.2")}
	b.ovs.Vsctl(t, "add-br", "bare", "--", "set", "bridge", "bare", "datapath_type=netdev", "fail_mode=standalone")
	home, other := testutil.HomeNS(t), testutil.NewNS(t)
	for port, ns := range map[string]*testutil.NS{"bare1": b.from, "bare2": other} {
		testutil.Connect(t, home, port, ns, "eth0")
		home.TxOff(t, port)
		ns.TxOff(t, "eth0")
		b.ovs.Vsctl(t, "add-port", "bare", port)
	}
	b.from.AddAddr(t, "eth0", netip.MustParsePrefix("198.18.0.1/24"))
	other.AddAddr(t, "eth0", netip.PrefixFrom(b.to, 24))
	works(t, route{name: "the bare switch", from: b.from, to: []netip.Addr{b.to}})
	return b
}

// TestDatabaseAway: without its database ovs-vswitchd on netdev stands still by itself, for longer the longer it was away.
// So the promise is what a switch without a controller does, and the five seconds on top.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w, b := newOverlayWorld(t), newBare(t)
	const away = 3500 * time.Millisecond // ovs-vswitchd looks for its database after 1, 3, 7 and 15 s
	reference := testutil.StartPinger(t, b.from, b.to, pingEvery)
	silence := w.try(t, fault{
		name: "ovsdb-server away", hurt: w.overlay(), calm: []route{w.den()}, lasting: 20 * time.Second,
		do: func(t *testing.T) {
			w.host.OVS.KillOVSDB(t)
			b.ovs.KillOVSDB(t)
			lasts(t, away)
		},
		end: func(t *testing.T) {
			w.host.OVS.StartOVSDB(t)
			b.ovs.StartOVSDB(t)
			// Both switches have found their databases when each has done something that was asked of it.
			w.host.OVS.Vsctl(t, "set", "Open_vSwitch", ".", "external_ids:test=found")
			b.ovs.Vsctl(t, "set", "Open_vSwitch", ".", "external_ids:test=found")
		},
	})
	stats, err := reference.Stop()
	must(t, err)
	t.Logf("MEASURED database away for %v: silence %v, of a switch without a controller %v", away,
		silence.Round(time.Millisecond), stats.Longest.Round(time.Millisecond))
	if silence > stats.Longest+promised {
		t.Errorf("traffic stood still for %v, that of a switch without a controller for %v", silence, stats.Longest)
	}
	w.sealed(t)
}

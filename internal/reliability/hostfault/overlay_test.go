package hostfault

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

// mgmt is where the integration bridge takes OpenFlow from, on its host.
const mgmt = "/run/openvswitch/cnm-int.mgmt"

// overlayWorld is two hosts with two overlay networks, and on the first, where the faults are, a bridge network too.
type overlayWorld struct {
	*world
	host         *testutil.Host
	red1, red2   *box // on the first host
	red4         *box // likewise, for traffic that no fault concerns
	red3         *box // on the other
	blue1, blue2 *box // one on each
	den1, den2   *box // in the bridge network
}

func newOverlayWorld(t *testing.T) *overlayWorld {
	t.Helper()
	w := &overlayWorld{world: newWorld(t, 2, testutil.HostsOptions{EtcdMembers: 1})}
	w.host = w.Hosts[0]
	w.network(t, w.host, "ovs-vxlan", "red", 1)
	w.network(t, w.host, "ovs-vxlan", "blue", 2)
	w.network(t, w.host, "bridge", "den", 3)
	w.red1, w.red2, w.red3 = w.box(t, w.host, "red", "red1"), w.box(t, w.host, "red", "red2"), w.box(t, w.Hosts[1], "red", "red3")
	w.blue1, w.blue2 = w.box(t, w.host, "blue", "blue1"), w.box(t, w.Hosts[1], "blue", "blue2")
	w.red4 = w.box(t, w.host, "red", "red4")
	w.den1, w.den2 = w.box(t, w.host, "den", "den1"), w.box(t, w.host, "den", "den2")
	works(t, w.overlay()...)
	works(t, w.den(), w.out(w.red1))
	w.stream(t, w.blue1, w.blue2)
	w.guard(t)
	return w
}

func (w *overlayWorld) guard(t *testing.T) {
	t.Helper()
	w.forbid(t, w.red2, w.blue1)
	w.forbid(t, w.blue2, w.red2)
	w.forbid(t, w.red2, w.den1)
}

// overlay is traffic through the switch of the first host, to and from all kinds of ports.
func (w *overlayWorld) overlay() []route {
	return []route{between(w.red1, w.red2), between(w.red2, w.red3), between(w.blue2, w.blue1)}
}

// den is traffic beside the switch.
func (w *overlayWorld) den() route { return between(w.den1, w.den2) }

func (w *overlayWorld) link(name string, do func(*netlink.Handle, netlink.Link) error) func(*testing.T) {
	return func(t *testing.T) {
		h := w.host.NS.Netlink()
		l, err := h.LinkByName(name)
		must(t, err)
		must(t, do(h, l))
	}
}

// TestDaemons takes away the daemons of the switch, through which everything goes.
func TestDaemons(t *testing.T) {
	t.Parallel()
	w := newOverlayWorld(t)
	ovs, hurt, calm := w.host.OVS, append(w.overlay(), w.out(w.red1)), []route{w.den()}
	for _, f := range []fault{
		{name: "ovs-vswitchd killed", do: func(t *testing.T) {
			ovs.KillVswitchd(t)
			ovs.StartVswitchd(t)
		}, hurt: hurt, calm: calm},
		{name: "ovsdb-server killed", do: func(t *testing.T) {
			ovs.KillOVSDB(t)
			ovs.StartOVSDB(t)
		}, hurt: hurt, calm: calm},
		{name: "both killed", do: func(t *testing.T) {
			ovs.KillVswitchd(t)
			ovs.KillOVSDB(t)
			ovs.StartOVSDB(t)
			ovs.StartVswitchd(t)
		}, hurt: hurt, calm: calm},
		{name: "database lost", do: w.loseDatabase, hurt: hurt, calm: calm},
	} {
		w.try(t, f)
	}
	w.sealed(t)
}

// loseDatabase removes the database and does what a machine's start does: an empty one, with its physical bridge.
func (w *overlayWorld) loseDatabase(t *testing.T) {
	ovs := w.host.OVS
	ovs.KillVswitchd(t)
	ovs.KillOVSDB(t)
	w.host.Run(t, "rm", "/run/openvswitch/conf.db")
	w.host.Run(t, "ovsdb-tool", "create", "/run/openvswitch/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
	ovs.StartOVSDB(t)
	ovs.Vsctl(t, "--no-wait", "init")
	l, err := w.host.NS.Netlink().LinkByName(testutil.PhysicalBridge)
	must(t, err)
	ovs.Vsctl(t, "--no-wait", "add-br", testutil.PhysicalBridge, "--", "set", "bridge", testutil.PhysicalBridge, "datapath_type=netdev",
		"fail_mode=standalone", `other_config:hwaddr="`+l.Attrs().HardwareAddr.String()+`"`, "--", "add-port", testutil.PhysicalBridge, "uplink")
	ovs.StartVswitchd(t)
}

// TestOverlay does damage to one host of two.
func TestOverlay(t *testing.T) {
	t.Parallel()
	w := newOverlayWorld(t)
	ovs, red1 := w.host.OVS, []route{between(w.red1, w.red2), between(w.red1, w.red3)}
	others := slices.Concat(w.overlay()[1:], []route{between(w.red2, w.red4), w.den()})
	all, egress := append(w.overlay(), w.out(w.red1)), []route{w.out(w.red1)}
	// A port that goes is a fault of the switch: seen on netdev, the others' traffic loses a packet or two while the port
	// is taken out and put back. It is not known yet whether the switch would lose them by itself.
	ports, den := slices.Concat(red1, w.overlay()[1:]), []route{w.den()}
	for _, f := range []fault{
		{name: "bridge deleted", do: func(t *testing.T) { ovs.Vsctl(t, "del-br", "cnm-int") }, hurt: all, calm: []route{w.den()}},
		{name: "port deleted", do: func(t *testing.T) { ovs.Vsctl(t, "del-port", w.red1.veth(t).Attrs().Name) }, hurt: ports, calm: den},
		{name: "flows deleted", do: func(t *testing.T) { w.host.Run(t, "ovs-ofctl", "-O", "OpenFlow15", "del-flows", mgmt) }, hurt: all, calm: []route{w.den()}},
		{name: "groups deleted", do: func(t *testing.T) { w.host.Run(t, "ovs-ofctl", "-O", "OpenFlow15", "del-groups", mgmt) }, calm: others},
		{name: "veth deleted", do: func(t *testing.T) { must(t, w.host.NS.Netlink().LinkDel(w.red1.veth(t))) }, hurt: ports, calm: den},
		{name: "gateway link deleted", do: w.link("cnm-gw0", (*netlink.Handle).LinkDel), hurt: slices.Concat(egress, ports), calm: den},
		{name: "gateway addresses removed", do: w.link("cnm-gw0", removeAddrs), hurt: egress, calm: others},
		{name: "sink deleted", do: w.link("cnm-sink", (*netlink.Handle).LinkDel), hurt: ports, calm: den},
		{name: "rules flushed", do: func(t *testing.T) { flushRules(t, w.host) }, hurt: egress, calm: others},
		{name: "ruleset flushed", do: func(t *testing.T) { w.host.Run(t, "nft", "flush", "ruleset") }, hurt: egress, calm: others},
		{name: "forwarding off", do: func(t *testing.T) { stopForwarding(t, w.host) }, hurt: egress, calm: others},
		{name: "interface down", do: func(t *testing.T) { w.red1.inside(t, (*netlink.Handle).LinkSetDown) }, hurt: red1, calm: others},
		{name: "addresses removed", do: func(t *testing.T) { w.red1.inside(t, removeAddrs) }, hurt: red1, calm: others},
		{name: "namespace unmounted", do: func(t *testing.T) { w.red1.unmount(t) }, calm: append(others, red1...)},
		{
			name: "underlay down", do: func(t *testing.T) { w.host.Cut(t); lasts(t, 3*time.Second) },
			end:  func(t *testing.T) { w.host.Restore(t) },
			hurt: []route{between(w.red2, w.red3), w.out(w.red1)}, calm: []route{between(w.red1, w.red2), w.den()}, lasting: 3 * time.Second,
		},
		{
			name: "underlay addresses removed", do: func(t *testing.T) { w.loseAddresses(t); lasts(t, 3*time.Second) },
			end: w.giveAddresses,
			// Not egress: what begins meanwhile is masqueraded under another address of the host's, and the kernel keeps to
			// that for as long as it goes on. What begins afterwards is asked for below.
			hurt: []route{between(w.red2, w.red3)}, calm: []route{between(w.red1, w.red2), w.den()}, lasting: 3 * time.Second,
		},
	} {
		w.try(t, f)
	}
	works(t, w.out(w.red1))
	w.sealed(t)
}

// lasts lets a fault last.
func lasts(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func (w *overlayWorld) loseAddresses(t *testing.T) {
	w.link(testutil.PhysicalBridge, removeAddrs)(t)
}

// giveAddresses gives the host back what loseAddresses took, and with it the routes that went along.
func (w *overlayWorld) giveAddresses(t *testing.T) {
	ns := w.host.NS
	for addr, bits := range map[netip.Addr]int{w.host.Addr4: 24, w.host.Addr6: 64} {
		ns.AddAddr(t, testutil.PhysicalBridge, netip.PrefixFrom(addr, bits))
		raw := addr.AsSlice()
		raw[len(raw)-1] = 254 // the rig's router
		router, _ := netip.AddrFromSlice(raw)
		ns.AddRoute(t, netip.Prefix{}, router)
	}
}

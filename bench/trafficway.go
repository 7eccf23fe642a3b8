package main

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// way is two namespaces, one of which sends, and what is between them.
type way struct {
	name     string
	from, to *testutil.NS
	sources  []netip.Addr // of from: IPv4, then IPv6 if there is any
	addrs    []netip.Addr // of to, likewise
	mtu      int
}

// wayTimeout is far above what the first packet of a new way takes, which may have to find a tunnel's other end.
const wayTimeout = 20 * time.Second

// ready returns when packets pass.
func (w *way) ready(t testutil.TB) {
	t.Helper()
	eth0, err := w.from.Netlink().LinkByName(inside)
	if err != nil {
		t.Fatalf("%s: read MTU: %v", w.name, err)
	}
	w.mtu = eth0.Attrs().MTU
	for _, addr := range w.addrs {
		testutil.Eventually(t, wayTimeout, func() error {
			_, err := testutil.Ping(t.Context(), w.from, addr)
			return err
		})
	}
}

// pairOf is a way between two endpoints that contenders have made.
func pairOf(t testutil.TB, name string, from, to *lane) *way {
	t.Helper()
	a, _ := from.up(t, 1, 1)
	b, _ := to.up(t, 1, 1)
	here, there := from.place(t, a.First), to.place(t, b.First)
	return &way{
		name: name, from: from.host.OpenNS(t, here.Path), to: to.host.OpenNS(t, there.Path), sources: here.addrs(), addrs: there.addrs(),
	}
}

func (p place) addrs() []netip.Addr {
	if !p.Addr6.IsValid() {
		return []netip.Addr{p.Addr}
	}
	return []netip.Addr{p.Addr, p.Addr6}
}

// compared are two ways that should cost the same.
type compared struct{ own, hand *way }

// ways are all that a run measures.
type ways struct {
	compared []compared
	others   []*way // for information

	// The switch on which the first comparison of the overlay is, for a look into it.
	overlay compared
	host    *testutil.Host
}

// newWays makes the networks: those of one host with a Linux bridge, and those of Open vSwitch.
func newWays(t testutil.TB, cfg config) *ways {
	t.Helper()
	w := &ways{}
	w.bridges(t, cfg)
	w.switches(t, cfg)
	for _, c := range w.compared {
		c.own.ready(t)
		c.hand.ready(t)
		if c.own.mtu != c.hand.mtu {
			t.Fatalf("%s has MTU %d, %s has %d: that is no comparison", c.own.name, c.own.mtu, c.hand.name, c.hand.mtu)
		}
	}
	for _, o := range w.others {
		o.ready(t)
	}
	return w
}

// bridges compares libcnm's with bridges by hand. Where the kernel has br_netfilter, it may show every frame that a bridge
// forwards to the host's firewall and conntrack. Most hosts do not want that, so without it libcnm is compared with a host
// that has no firewall at all; with it, with a bridge beside it on the same host, which the same firewall sees.
func (w *ways) bridges(t testutil.TB, cfg config) {
	t.Helper()
	rig := testutil.NewHosts(t, 5, testutil.HostsOptions{NoOVS: true})
	filtered := filtersBridges(rig.Hosts[0])
	if filtered {
		filterBridges(t, rig.Hosts[0], "0")
		filterBridges(t, rig.Hosts[1], "0")
	}
	own, docker := trafficLane(t, cfg, rig.Hosts[0], kindLibcnm, nil), trafficLane(t, cfg, rig.Hosts[4], kindPlain, nil)
	w.compared = append(w.compared, compared{pairOf(t, "bridge", own, own), handBridge(t, rig.Hosts[1], "bridge by hand")})
	w.others = append(w.others, handPair(t))
	if filtered {
		for _, h := range rig.Hosts[2:] {
			filterBridges(t, h, "1")
		}
		own := trafficLane(t, cfg, rig.Hosts[2], kindLibcnm, nil)
		w.compared = append(w.compared, compared{
			pairOf(t, "bridge, br_netfilter", own, own), handBridge(t, rig.Hosts[2], "bridge by hand beside it"),
		})
		w.others = append(w.others, handBridge(t, rig.Hosts[3], "bridge by hand, br_netfilter, no firewall"))
	}
	w.others = append(w.others, pairOf(t, "libnetwork bridge", docker, docker))
}

func (w *ways) switches(t testutil.TB, cfg config) {
	t.Helper()
	rig := testutil.NewHosts(t, 2, testutil.HostsOptions{EtcdMembers: 1})
	here := trafficLane(t, cfg, rig.Hosts[0], kindOverlay, rig.Etcd.Endpoints())
	there := trafficLane(t, cfg, rig.Hosts[1], kindOverlay, rig.Etcd.Endpoints())
	there.next = 1 << 14 // names are unique in the network

	near := pairOf(t, "ovs-vxlan, one host", here, here)
	near.ready(t) // it knows its MTU then, which is that of all
	far := pairOf(t, "ovs-vxlan, two hosts", here, there)
	hands := []*handSwitch{newHandSwitch(t, rig.Hosts[0]), newHandSwitch(t, rig.Hosts[1])}
	placeSwitch(t, rig.Hosts[0])
	placeSwitch(t, rig.Hosts[1])
	w.overlay, w.host = compared{near, handNear(t, hands[0], near.mtu)}, rig.Hosts[0]
	w.compared = append(w.compared, w.overlay, compared{far, handFar(t, hands[0], hands[1], near.mtu)})
}

// trafficLane opens a contender that leaves the machine alone once its endpoints are there.
func trafficLane(t testutil.TB, cfg config, h *testutil.Host, kind string, etcd []string) *lane {
	t.Helper()
	l := newLane(t, cfg, h, kind, etcd)
	l.setup.Quiet, l.setup.Dual = true, true
	l.open(t)
	return l
}

// The following is what a packet on the way looks like to a switch of the sender's host.

// macs are the sender's and the receiver's.
func (w *way) macs() (from, to net.HardwareAddr, err error) {
	a, err := w.from.Netlink().LinkByName(inside)
	if err != nil {
		return nil, nil, err
	}
	b, err := w.to.Netlink().LinkByName(inside)
	if err != nil {
		return nil, nil, err
	}
	return a.Attrs().HardwareAddr, b.Attrs().HardwareAddr, nil
}

// port is the host's end of the sender's interface.
func (w *way) port(h *testutil.Host) (string, error) {
	eth0, err := w.from.Netlink().LinkByName(inside)
	if err != nil {
		return "", err
	}
	end, err := h.NS.Netlink().LinkByIndex(eth0.Attrs().ParentIndex)
	if err != nil {
		return "", fmt.Errorf("find the other end of %s: %w", w.from.Name, err)
	}
	return end.Attrs().Name, nil
}

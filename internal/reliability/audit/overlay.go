package audit

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// What all overlay networks of a node share.
const (
	overlayBridge = "cnm-int"
	tunnelName    = "cnm-int-vxlan"
	gatewayHost   = "cnm-gw0"
	gatewayPort   = "cnm-gw1"
	sinkName      = "cnm-sink"

	tunnelNumber, gatewayNumber, firstNumber = 1, 2, 16

	tunnelUDPPort = 4789
)

var (
	gatewayHostMAC = drivers.MAC{0x0a, 'c', 'n', 'm', 0, 1}
	gatewayPortMAC = drivers.MAC{0x0a, 'c', 'n', 'm', 0, 2}
	sinkMAC        = drivers.MAC{0x0a, 'c', 'n', 'm', 0, 3}

	transit4 = netip.MustParsePrefix("169.254.64.0/18")
	transit6 = netip.MustParsePrefix("fd6c:6962:636e:6d::/64")
)

// overlay is what the overlay networks of this host come to.
type overlay struct {
	vtep   netip.Addr
	fits   int // bytes that go through a tunnel whole
	netdev bool
	zones  map[string]uint16 // by network, as the bridge's row has them
}

// planOverlay works out what networks share. Nil, with a finding, when that is not known because there is no bridge.
func (a *audit) planOverlay(networks []*network) (*overlay, error) {
	if a.vsctl == nil {
		return nil, fmt.Errorf("%d overlay networks and no Open vSwitch to look at: %w", len(networks), errdefs.ErrInvalid)
	}
	o := &overlay{zones: map[string]uint16{}}
	bridge := a.vsctl.bridges[overlayBridge]
	tunnel := a.vsctl.interfaces[tunnelName]
	known, ok := a.nodes[a.host.Node]
	if o.vtep = known.VTEP; !ok {
		// Nothing else records it: a node's own record ends with its lease, and a local store has none.
		var err error
		if o.vtep, err = netip.ParseAddr(tunnel.Options["local_ip"]); err != nil {
			a.add(Missing, "port "+tunnelName, "%d overlay networks are in use: %v", len(networks), err)
			return nil, nil
		}
	}
	underlay := known.MTU
	l, found := a.links.with(o.vtep)
	if !found {
		a.add(Missing, "address "+o.vtep.String(), "tunnels come from it")
	}
	if underlay == 0 {
		underlay = l.mtu
	}
	o.fits = underlay - 50
	if o.vtep.Is6() {
		o.fits = underlay - 70
	}
	o.netdev = bridge.DatapathType == "netdev"
	a.readZones(o, bridge, networks)
	return o, nil
}

// readZones takes the networks' numbers from the bridge's row and looks whether each has one of its own.
func (a *audit) readZones(o *overlay, bridge bridgeRow, networks []*network) {
	object := "bridge " + overlayBridge
	taken := map[uint16]string{}
	for key, value := range bridge.ExternalIDs {
		id, ok := strings.CutPrefix(key, "libcnm-zone-")
		if !ok {
			continue
		}
		zone, err := strconv.ParseUint(value, 10, 14)
		if err != nil || zone == 0 {
			a.add(Wrong, object, "the number of network %s is %q", id, value)
			continue
		}
		if other := taken[uint16(zone)]; other != "" {
			a.add(Duplicate, object, "networks %s and %s have the number %d", other, id, zone)
		}
		taken[uint16(zone)], o.zones[id] = id, uint16(zone)
	}
	for _, n := range networks {
		if o.zones[n.ID] == 0 {
			a.add(Missing, object, "network %s has no number", n.ID)
		}
	}
}

func (o *overlay) mtu(n *network) int {
	if n.MTU != 0 {
		return n.MTU
	}
	return o.fits
}

// links are those that all networks share.
func (o *overlay) links() []wantLink {
	mark := "libcnm:" + overlayDriver + ":node:"
	port := wantLink{
		name: gatewayPort, kind: "veth", driver: overlayDriver, alias: mark + "gateway", mtu: o.fits, up: true,
		sysctls: map[string]string{conf6(gatewayPort, "disable_ipv6"): "1"},
	}
	if !o.netdev {
		return []wantLink{port}
	}
	port.master = sinkName
	return []wantLink{port, {
		name: sinkName, kind: "bridge", driver: overlayDriver, alias: mark + "sink", mac: sinkMAC, mtu: 65535,
		sysctls: ipv6Of(sinkName, nil),
	}}
}

// auditGateway looks at the host's end of the gateway's pair, which bears no mark but its name.
func (a *audit) auditGateway(o *overlay) error {
	object := "link " + gatewayHost
	l, ok := a.links.byName[gatewayHost]
	port := a.links.byName[gatewayPort]
	switch {
	case o == nil && ok && l.kind == "veth" && l.mac == gatewayHostMAC:
		a.add(Stray, object, "no overlay network is in use")
		return nil
	case o == nil:
		return nil
	case !ok:
		a.add(Missing, object, "overlay networks are in use")
		return nil
	case l.kind != "veth" || l.peer != port.index || port.peer != l.index:
		a.add(Wrong, object, "it is a %s, and not the other end of %s", l.kind, gatewayPort)
	}
	differ(a, object, "its MAC address", gatewayHostMAC, l.mac)
	differ(a, object, "its MTU", o.fits, l.mtu)
	differ(a, object, "that it is up", true, l.up)
	addrs := []netip.Prefix{
		netip.PrefixFrom(ovsvxlan.HostAddr(transit4), transit4.Bits()), netip.PrefixFrom(ovsvxlan.HostAddr(transit6), transit6.Bits()),
	}
	a.auditAddrs(object, addrs, l.addrs)
	return a.auditSysctls("the host", ipv6Of(gatewayHost, addrs))
}

// routes tell the host which networks take smaller packets than fit.
func (o *overlay) routes(networks []*network) []route {
	var list []route
	for _, n := range networks {
		if o.mtu(n) == o.fits {
			continue
		}
		for _, addr := range o.transit(n) {
			list = append(list, route{dst: netip.PrefixFrom(addr, addr.BitLen()), dev: gatewayHost, mtu: o.mtu(n)})
		}
	}
	return list
}

// transit returns the addresses that stand for a network towards the host: none for an internal one.
func (o *overlay) transit(n *network) []netip.Addr {
	zone := o.zones[n.ID]
	if n.Internal || zone == 0 {
		return nil
	}
	var list []netip.Addr
	for _, p := range []netip.Prefix{transit4, transit6} {
		addr := ovsvxlan.HostAddr(p)
		for range zone {
			addr = addr.Next()
		}
		list = append(list, addr)
	}
	return list
}

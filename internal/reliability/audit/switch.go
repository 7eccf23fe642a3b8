package audit

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// auditSwitch compares Open vSwitch's database, flows and groups with the overlay networks in use.
func (a *audit) auditSwitch(ctx context.Context, p *plan) error {
	if err := a.auditGateway(p.overlay); err != nil || a.vsctl == nil {
		return err
	}
	wanted := map[string]wantPort{}
	if p.overlay != nil {
		wanted = a.wantPorts(p.overlay)
		a.auditBridge(p.overlay)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		a.auditPort(name, wanted[name])
	}
	for _, name := range slices.Sorted(maps.Keys(a.vsctl.bridges)) {
		b := a.vsctl.bridges[name]
		if b.ExternalIDs["libcnm"] != "" && (name != overlayBridge || p.overlay == nil) {
			a.add(Stray, "bridge "+name, "external_ids %v, and no overlay network is in use", b.ExternalIDs)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.vsctl.ports)) {
		if _, ok := wanted[name]; !ok && (a.marked(name) && name != overlayBridge || a.onOurs(name)) {
			a.add(Stray, "port "+name, "of bridge %s, external_ids %v, and no such endpoint is on this host",
				a.vsctl.holder[name], a.vsctl.ports[name].ExternalIDs)
		}
	}
	if p.overlay == nil {
		return nil
	}
	if _, ok := a.vsctl.bridges[overlayBridge]; !ok {
		return nil // that is found; without it there are no flows to look at
	}
	return a.auditFlows(ctx, p.overlay)
}

func (a *audit) marked(port string) bool {
	return a.vsctl.ports[port].ExternalIDs["libcnm"] != "" || a.vsctl.interfaces[port].ExternalIDs["libcnm"] != ""
}

// onOurs reports whether the port is on our bridge, and not its own: whatever is there, our flows are about.
func (a *audit) onOurs(port string) bool {
	return a.vsctl.holder[port] == overlayBridge && port != overlayBridge
}

func (a *audit) auditBridge(o *overlay) {
	object := "bridge " + overlayBridge
	b, ok := a.vsctl.bridges[overlayBridge]
	if !ok {
		a.add(Missing, object, "overlay networks are in use")
		return
	}
	differ(a, object, "fail_mode", "secure", b.FailMode.String())
	slices.Sort(b.Protocols)
	differ(a, object, "protocols", "OpenFlow13,OpenFlow14,OpenFlow15", b.Protocols.String())
	differ(a, object, "other_config:disable-in-band", "true", b.OtherConfig["disable-in-band"])
	differ(a, object, "external_ids:libcnm", "bridge", b.ExternalIDs["libcnm"])
	if b.DatapathType != "netdev" && b.DatapathType != "system" {
		a.add(Wrong, object, "datapath_type is %q", b.DatapathType)
	}
	for _, id := range slices.Sorted(maps.Keys(o.zones)) {
		if n := a.networks[id]; n == nil || !a.used(n) {
			a.add(Stray, object, "it has a number for network %s, which is not in use here", id)
		}
	}
}

// wantPort is what the database should say of a port of ours.
type wantPort struct {
	mark, kind string
	number     int // 0: any of those for endpoints
	options    ovsMap
	ids        map[string]string // external_ids of the interface
	index      int               // of the device; 0: it has none
}

func (a *audit) wantPorts(o *overlay) map[string]wantPort {
	ports := map[string]wantPort{
		tunnelName: {mark: "tunnel", kind: "vxlan", number: tunnelNumber, options: ovsMap{
			"remote_ip": "flow", "key": "flow", "local_ip": o.vtep.String(), "dst_port": strconv.Itoa(tunnelUDPPort), "csum": "true",
		}},
		gatewayPort: {mark: "gateway", number: gatewayNumber, index: a.links.byName[gatewayPort].index},
	}
	for _, n := range a.active(overlayDriver) {
		for _, ep := range a.endpointsOf(n) {
			if !a.here(ep) {
				continue
			}
			name := hashName("cnmv", 11, n.ID, ep.ID)
			var addrs []string
			for _, p := range ep.Addrs {
				addrs = append(addrs, p.Addr().String())
			}
			ports[name] = wantPort{mark: "endpoint", index: a.links.byName[name].index, ids: map[string]string{
				"libcnm-network": n.ID, "libcnm-endpoint": ep.ID, "libcnm-mac": ep.MAC.String(), "libcnm-addrs": strings.Join(addrs, " "),
			}}
		}
	}
	return ports
}

func (a *audit) auditPort(name string, w wantPort) {
	object := "port " + name
	port, ok := a.vsctl.ports[name]
	iface, ok2 := a.vsctl.interfaces[name]
	if !ok || !ok2 {
		a.add(Missing, object, "want a port of %s for the %s", overlayBridge, w.mark)
		return
	}
	differ(a, object, "its bridge", overlayBridge, a.vsctl.holder[name])
	differ(a, object, "external_ids:libcnm", w.mark, port.ExternalIDs["libcnm"])
	differ(a, object, "other_config:transient", "true", port.OtherConfig["transient"])
	differ(a, object, "its type", w.kind, iface.Type)
	ids := maps.Clone(w.ids)
	if ids == nil {
		ids = map[string]string{}
	}
	ids["libcnm"] = w.mark
	if w.index != 0 {
		ids["libcnm-ifindex"] = strconv.Itoa(w.index)
	}
	have := maps.Clone(iface.ExternalIDs)
	maps.DeleteFunc(have, func(k, _ string) bool { return !strings.HasPrefix(k, "libcnm") })
	differ(a, object, "external_ids of its interface", fmt.Sprint(ids), fmt.Sprint(map[string]string(have)))
	differ(a, object, "options", fmt.Sprint(w.options), fmt.Sprint(iface.Options))
	number, err := strconv.Atoi(iface.OFPort.String())
	switch {
	case err != nil || number < 0:
		a.add(Wrong, object, "Open vSwitch could not open it: ofport %s, error %s", iface.OFPort, iface.Error)
	case w.number != 0 && number != w.number || w.number == 0 && number < firstNumber:
		a.add(Wrong, object, "its number is %d", number)
	}
	differ(a, object, "ofport_request", iface.OFPort.String(), iface.OFPortRequest.String())
}

// portNumber is the OpenFlow port of an endpoint; 0: there is none.
func (a *audit) portNumber(ep *endpoint) uint32 {
	number, err := strconv.ParseUint(a.vsctl.interfaces[hashName("cnmv", 11, ep.Network, ep.ID)].OFPort.String(), 10, 16)
	if err != nil {
		return 0
	}
	return uint32(number)
}

// peerVTEP is where an endpoint on another node is reached; the zero Addr for one that cannot be.
func (a *audit) peerVTEP(ep *endpoint, own netip.Addr) netip.Addr {
	if ep.Join == nil || a.here(ep) || a.host.Cluster == nil {
		return netip.Addr{}
	}
	if vtep := a.nodes[ep.Join.Node].VTEP; vtep.Is4() == own.Is4() {
		return vtep
	}
	return netip.Addr{}
}

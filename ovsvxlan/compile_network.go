package ovsvxlan

import (
	"fmt"
	"net/netip"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// CompileNetwork returns what a network needs on this node whoever is in it: its gateway, its way out and back.
func CompileNetwork(base Base, n Network) (Program, error) {
	if err := n.Validate(base); err != nil {
		return Program{}, err
	}
	b := newBuilder(Object{Kind: KindNetwork, Network: n.ID})
	// Each node has its own gateway with this MAC, so on the wire it is nobody's.
	b.add(TableTunnelAdmit, refuse, "", match(vni(n.VNI), ethSrc(n.GatewayMAC)), ovs.Drop())
	for _, s := range n.Subnets {
		b.add(TableRoute, subnet, ipProtocol(s.Prefix.Addr()), match(vni(n.VNI), ipDstIn(s.Prefix)), ovs.Drop())
		if s.Gateway.IsValid() {
			b.answer(n, s.Gateway, n.GatewayMAC)
			b.echo(n, s.Gateway)
		}
	}
	if !n.Internal {
		b.egress(base, n, n.Transit4)
		b.egress(base, n, n.Transit6)
	}
	return b.program()
}

// answer lets endpoints of the network find the owner of addr. The guard has already made the asker the destination.
func (b *builder) answer(n Network, addr netip.Addr, owner MAC) {
	reply := []ovs.Action{setEthSrc(owner), resubmit(TableReply)}
	if addr.Is4() {
		b.add(TableNeighbor, exact, ovs.ProtocolARP, arpRequest(vni(n.VNI), ovs.ARPTargetProtocolAddress(addr.String())), reply...)
		return
	}
	b.add(TableNeighbor, exact, ovs.ProtocolICMPv6, ndSolicit(vni(n.VNI), ovs.NeighborDiscoveryTarget(addr.String())), reply...)
}

// echo answers a ping to the gateway: it exists only in flows, and people try it first.
func (b *builder) echo(n Network, gateway netip.Addr) {
	request, replyType, protocol := uint8(8), ovs.SetField("0", "icmp_type"), ovs.ProtocolICMPv4
	swap := []ovs.Action{ovs.Move("NXM_OF_IP_SRC[]", "NXM_OF_IP_DST[]"), ovs.SetField(gateway.String(), "ip_src")}
	if gateway.Is6() {
		request, replyType, protocol = icmp6EchoRequest, ovs.SetField(fmt.Sprint(icmp6EchoReply), "icmpv6_type"), ovs.ProtocolICMPv6
		swap = []ovs.Action{ovs.Move("NXM_NX_IPV6_SRC[]", "NXM_NX_IPV6_DST[]"), ovs.SetField(gateway.String(), "ipv6_src")}
	}
	actions := append([]ovs.Action{backToSender(), setEthSrc(n.GatewayMAC)}, swap...)
	actions = append(actions, replyType, ovs.SetField("64", "nw_ttl"), inPortAction)
	b.add(TableRoute, special, protocol,
		match(vni(n.VNI), source(fromEndpoint), ipDst(gateway), ovs.ICMPType(request), ovs.ICMPCode(0)), actions...)
}

// egress lets endpoints open connections to the outside, under one address for all of them, and lets the answers in.
func (b *builder) egress(base Base, n Network, transit netip.Addr) {
	if !transit.IsValid() {
		return
	}
	protocol := ipProtocol(transit)
	b.add(TableRoute, outside, protocol, match(vni(n.VNI), source(fromEndpoint)), resubmit(TableEgress))
	b.add(TableEgress, exact, protocol, match(vni(n.VNI)),
		ovs.ConnectionTracking(fmt.Sprintf("commit,table=%d,zone=%d,nat(src=%s)", TableEgressOut, n.Zone, transit)))
	b.add(TableGatewayAdmit, exact, protocol, match(ipDst(transit)),
		setVNI(n.VNI), ovs.ConnectionTracking(fmt.Sprintf("table=%d,zone=%d,nat", TableGatewayState, n.Zone)))
}

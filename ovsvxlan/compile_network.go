package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

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
		b.hold(n, s.Prefix)
		b.add(TableRoute, subnet, ipProtocol(s.Prefix.Addr()), match(vni(n.VNI), ipDstIn(s.Prefix)), ovs.Drop())
		// An address may be another's now, and its neighbours go on sending to the MAC of its last owner for up to a minute:
		// they are told nothing, because nothing is flooded. So a MAC that nobody has is as good as the gateway's.
		b.add(TableForward, subnet, ipProtocol(s.Prefix.Addr()), match(vni(n.VNI), source(fromEndpoint), ipDstIn(s.Prefix)),
			resubmit(TableRoute))
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

// hold pauses what comes from a tunnel from a sender in the subnet that is not known: the node may yet have to hear of it. It
// is judged a second time, by the same flows, when somebody has, and not held again.
func (b *builder) hold(n Network, senders netip.Prefix) {
	b.add(TableTunnelAdmit, subnet, ipProtocol(senders.Addr()), match(vni(n.VNI), ovs.FieldMatch("reg3", "0"), ipSrcIn(senders)),
		ovs.SetField("0x1", "reg3"), pause(), resubmit(TableTunnelAdmit))
}

// answer lets endpoints of the network find the owner of addr. The guard has already made the asker the destination.
func (b *builder) answer(n Network, addr netip.Addr, owner MAC) {
	protocol, question := ovs.ProtocolARP, arpRequest(vni(n.VNI), arpTarget(addr.String()))
	if addr.Is6() {
		protocol, question = ovs.ProtocolICMPv6, ndSolicit(vni(n.VNI), ndTarget(addr.String()))
	}
	b.add(TableNeighbor, exact, protocol, question, setEthSrc(owner), resubmit(TableReply))
}

// echo answers a ping to the gateway: it exists only in flows, and people try it first.
func (b *builder) echo(n Network, gateway netip.Addr) {
	protocol, request := ovs.ProtocolICMPv4, uint8(icmpEchoRequest)
	answer := []ovs.Action{
		ovs.Move("NXM_OF_IP_SRC[]", "NXM_OF_IP_DST[]"), ovs.SetField(gateway.String(), "ip_src"),
		ovs.SetField(strconv.Itoa(icmpEchoReply), "icmp_type"),
	}
	if gateway.Is6() {
		protocol, request = ovs.ProtocolICMPv6, icmp6EchoRequest
		answer = []ovs.Action{
			ovs.Move("NXM_NX_IPV6_SRC[]", "NXM_NX_IPV6_DST[]"), ovs.SetField(gateway.String(), "ipv6_src"),
			ovs.SetField(strconv.Itoa(icmp6EchoReply), "icmpv6_type"),
		}
	}
	b.add(TableRoute, special, protocol,
		match(vni(n.VNI), source(fromEndpoint), ipDst(gateway), ovs.ICMPType(request), ovs.ICMPCode(0)),
		slices.Concat([]ovs.Action{backToSender(), setEthSrc(n.GatewayMAC)}, answer,
			[]ovs.Action{ovs.SetField("64", "nw_ttl"), inPortAction})...)
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

package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// canary is the note in the last table: six octets, because a note is padded to 6+8n.
var canary = fmt.Sprintf("note:63.6e.6d.00.00.%02x", schemaVersion)

// CompileBase returns what a bridge needs before it has networks: the stages themselves, every table's answer to what
// nothing matches, and what is refused whoever asks.
func CompileBase(base Base) (Program, error) {
	if err := base.Validate(); err != nil {
		return Program{}, err
	}
	b := newBuilder(Object{Kind: KindBase})
	for table := range tableNames {
		switch table {
		case TableOutput:
			b.add(table, miss, "", nil, output())
		case TableCanary:
			b.add(table, miss, "", nil, rawAction(canary))
		default:
			b.add(table, miss, "", nil, ovs.Drop())
		}
	}
	b.classify(base)
	b.guard(base)
	b.replies()
	if base.GatewayPort != 0 {
		b.gatewayIn(base)
		b.gatewayOut(base)
	}
	return b.program()
}

// classify accepts the tunnel and the gateway. From the tunnel only packets come: questions for addresses are answered
// on the node that asks, so ARP and ND there could only be someone's attempt to poison a cache.
func (b *builder) classify(base Base) {
	b.add(TableClassify, refuse, "", match(ovs.FieldMatch("vlan_tci", "0x1000/0x1000")), ovs.Drop())
	for _, t := range []uint8{
		icmp6RouterSolicit, icmp6RouterAdvert, icmp6NeighborSolicit, icmp6NeighborAdvert, icmp6Redirect,
	} {
		b.add(TableClassify, refuse, ovs.ProtocolICMPv6, match(inPort(base.TunnelPort), ovs.ICMPType(t)), ovs.Drop())
	}
	for _, p := range []ovs.Protocol{ovs.ProtocolIPv4, ovs.ProtocolIPv6} {
		b.add(TableClassify, exact, p, match(inPort(base.TunnelPort)),
			ovs.Move("NXM_NX_TUN_ID[0..31]", "NXM_NX_REG0[]"), setSource(fromTunnel), resubmit(TableTunnelAdmit))
	}
	if base.GatewayPort != 0 {
		b.add(TableClassify, exact, "", match(inPort(base.GatewayPort)), setSource(fromGateway), resubmit(TableGatewayAdmit))
	}
}

// guard refuses what no endpoint may send, and silently what it may send but nobody needs.
func (b *builder) guard(base Base) {
	drop := func(protocol ovs.Protocol, m ...ovs.Match) {
		b.add(TableEndpointGuard, refuse, protocol, m, ovs.Drop())
	}
	// Frames in frames: the host would forward them from the node's own tunnel address, which other nodes admit.
	drop(ovs.ProtocolUDPv4, ovs.TransportDestinationPort(base.TunnelUDPPort))
	drop(ovs.ProtocolUDPv6, ovs.TransportDestinationPort(base.TunnelUDPPort))
	// Clients listen on their port; whatever port an answer comes from, they take it.
	drop(ovs.ProtocolUDPv4, ovs.TransportDestinationPort(dhcpClient))
	drop(ovs.ProtocolUDPv6, ovs.TransportDestinationPort(dhcp6Client))
	drop(ovs.ProtocolUDPv4, ovs.TransportSourcePort(dhcpServer))
	drop(ovs.ProtocolUDPv6, ovs.TransportSourcePort(dhcp6Server))
	for _, t := range []uint8{
		icmp6RouterAdvert, icmp6Redirect, icmp6NeighborAdvert, // only the store says who is where
		icmp6RouterSolicit,                                                              // there is no router to answer
		icmp6MulticastQuery, icmp6MulticastReport, icmp6MulticastDone, icmp6MulticastV2, // multicast goes to every member
	} {
		drop(ovs.ProtocolICMPv6, ovs.ICMPType(t))
	}
	// "Does anyone use this address?" needs no answer: the store gives each address to one endpoint.
	drop(ovs.ProtocolARP, ovs.ARPSourceProtocolAddress("0.0.0.0"))
	drop(ovs.ProtocolICMPv6, ovs.ICMPType(icmp6NeighborSolicit), ovs.IPv6Source("::"))
	// What remains of ND is allowed by a rule above this one, or would pass as an ordinary packet below.
	b.add(TableEndpointGuard, suspect, ovs.ProtocolICMPv6, match(ovs.ICMPType(icmp6NeighborSolicit)), ovs.Drop())
}

// replies turns a request whose sender is its destination and whose source is the owner's MAC into the answer.
func (b *builder) replies() {
	b.add(TableReply, exact, ovs.ProtocolARP, arpRequest(),
		ovs.SetField("2", "arp_op"),
		ovs.Move("NXM_NX_ARP_SHA[]", "NXM_NX_ARP_THA[]"),
		ovs.Move("NXM_OF_ETH_SRC[]", "NXM_NX_ARP_SHA[]"),
		ovs.Move("NXM_OF_ARP_TPA[]", "NXM_NX_REG3[]"),
		ovs.Move("NXM_OF_ARP_SPA[]", "NXM_OF_ARP_TPA[]"),
		ovs.Move("NXM_NX_REG3[]", "NXM_OF_ARP_SPA[]"),
		inPortAction)
	b.add(TableReply, exact, ovs.ProtocolICMPv6, ndSolicit(),
		ovs.Move("NXM_NX_IPV6_SRC[]", "NXM_NX_IPV6_DST[]"),
		ovs.Move("NXM_NX_ND_TARGET[]", "NXM_NX_IPV6_SRC[]"),
		// The kernel's datapath knows neither of the two fields, so Open vSwitch refuses to set one to a value. What it
		// does to answers it does in ovs-vswitchd, which knows them: there they can be copied.
		ovs.SetField("0x60000000", "reg3"), // solicited, override: bits 30 and 29
		ovs.Move("NXM_NX_REG3[]", "ERICOXM_OF_ICMPV6_ND_RESERVED[]"),
		ovs.SetField("0x2", "reg3"), // target link-layer address
		ovs.Move("NXM_NX_REG3[0..7]", "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE[]"),
		ovs.SetField("136", "icmpv6_type"), // neighbor advertisement
		resubmit(TableReplyND))
	b.add(TableReplyND, exact, ovs.ProtocolICMPv6, match(ovs.ICMPType(icmp6NeighborAdvert), ovs.ICMPCode(0)),
		ovs.Move("NXM_OF_ETH_SRC[]", "NXM_NX_ND_TLL[]"),
		inPortAction)
}

// gatewayIn answers the host's questions for transit addresses, and lets in what belongs to a connection that an
// endpoint opened.
func (b *builder) gatewayIn(base Base) {
	answer := []ovs.Action{backToSender(), setEthSrc(base.GatewayMAC), resubmit(TableReply)}
	if p := base.TransitPrefix4; p.IsValid() {
		own := arpTarget(HostAddr(p).String()) // the host asks whether its own address is taken
		b.add(TableGatewayAdmit, refuse, ovs.ProtocolARP, arpRequest(own), ovs.Drop())
		b.add(TableGatewayAdmit, exact, ovs.ProtocolARP, arpRequest(arpTarget(masked(p))), answer...)
	}
	if p := base.TransitPrefix6; p.IsValid() {
		b.add(TableGatewayAdmit, refuse, ovs.ProtocolICMPv6, ndSolicit(ovs.IPv6Source("::")), ovs.Drop())
		b.add(TableGatewayAdmit, exact, ovs.ProtocolICMPv6, ndSolicit(ndTarget(masked(p))), answer...)
	}
	for _, p := range []ovs.Protocol{ovs.ProtocolIPv4, ovs.ProtocolIPv6} {
		for _, state := range []string{"-new+est+rpl-inv+trk", "-new+rel+rpl-inv+trk"} {
			b.add(TableGatewayState, exact, p, match(ovs.ConnectionTrackingState(state)), resubmit(TableRoute))
		}
	}
}

// neverOutside are destinations that mean something only on one link or one host; through the gateway they would reach
// the host's own services, or another network by its transit address.
var neverOutside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/64"), // unspecified, loopback, and IPv4 in disguise
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// gatewayOut refuses destinations, and hands over to the host what source translation has been done for.
func (b *builder) gatewayOut(base Base) {
	refused := slices.Clone(neverOutside)
	for _, p := range []netip.Prefix{base.TransitPrefix4, base.TransitPrefix6} {
		if p.IsValid() && !slices.Contains(refused, p) {
			refused = append(refused, p)
		}
	}
	for _, p := range refused {
		b.add(TableEgress, refuse, ipProtocol(p.Addr()), match(ipDstIn(p)), ovs.Drop())
	}
	// Once more: in the kernel's datapath (not in netdev) conntrack has put fragments together since, so there this
	// does not depend on FragmentMode.
	b.add(TableEgressOut, refuse, ovs.ProtocolUDPv4, match(ovs.TransportDestinationPort(base.TunnelUDPPort)), ovs.Drop())
	b.add(TableEgressOut, refuse, ovs.ProtocolUDPv6, match(ovs.TransportDestinationPort(base.TunnelUDPPort)), ovs.Drop())
	for _, p := range []netip.Prefix{base.TransitPrefix4, base.TransitPrefix6} {
		if !p.IsValid() {
			continue
		}
		b.add(TableEgressOut, exact, ipProtocol(p.Addr()),
			match(ovs.ConnectionTrackingState("-inv+trk"), ipSrcIn(p)),
			setEthSrc(base.GatewayMAC), setEthDst(base.GatewayHostMAC), ovs.DecTTL(), ovs.Output(int(base.GatewayPort)))
	}
}

package ovsvxlan

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// Matches and actions of go-openvswitch in the words of the pipeline, written as Open vSwitch 3 dumps them.

func match(m ...ovs.Match) []ovs.Match { return m }

func vni(v uint32) ovs.Match           { return ovs.FieldMatch("reg0", hex(v)) }
func source(kind int) ovs.Match        { return ovs.FieldMatch("reg1", hex(kind)) }
func inPort(port uint32) ovs.Match     { return ovs.InPortMatch(int(port)) }
func ethSrc(mac MAC) ovs.Match         { return ovs.DataLinkSource(mac.String()) }
func ethDst(mac MAC) ovs.Match         { return ovs.DataLinkDestination(mac.String()) }
func hex[T ~int | ~uint32](v T) string { return "0x" + strconv.FormatUint(uint64(v), 16) }

// ipProtocol is the protocol that packets to and from addr have.
func ipProtocol(addr netip.Addr) ovs.Protocol {
	if addr.Is4() {
		return ovs.ProtocolIPv4
	}
	return ovs.ProtocolIPv6
}

func ipSrc(addr netip.Addr) ovs.Match  { return ipField("src", addr, addr.String()) }
func ipDst(addr netip.Addr) ovs.Match  { return ipField("dst", addr, addr.String()) }
func ipSrcIn(p netip.Prefix) ovs.Match { return ipField("src", p.Addr(), masked(p)) }
func ipDstIn(p netip.Prefix) ovs.Match { return ipField("dst", p.Addr(), masked(p)) }

// The following write what the library's own matches for addresses do, which parse again what came from a netip.Addr.

func arpTarget(value string) ovs.Match { return ovs.FieldMatch("arp_tpa", value) }
func ndTarget(value string) ovs.Match  { return ovs.FieldMatch("nd_target", value) }

func ipField(end string, family netip.Addr, value string) ovs.Match {
	if family.Is4() {
		return ovs.FieldMatch("nw_"+end, value)
	}
	return ovs.FieldMatch("ipv6_"+end, value)
}

// masked writes a prefix without the mask that would cover the whole address: a dump has none there.
func masked(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// arpRequest and ndSolicit match the two kinds of question for the owner of an address.
func arpRequest(m ...ovs.Match) []ovs.Match { return append(m, ovs.ARPOperation(1)) }

func ndSolicit(m ...ovs.Match) []ovs.Match {
	return append(m, ovs.ICMPType(icmp6NeighborSolicit), ovs.ICMPCode(0))
}

// tunnelSrc matches the node a frame came from.
func tunnelSrc(vtep netip.Addr) ovs.Match {
	if vtep.Is4() {
		return ovs.FieldMatch("tun_src", vtep.String())
	}
	return ovs.FieldMatch("tun_ipv6_src", vtep.String())
}

// toTunnel addresses the frame to the network on another node.
func toTunnel(vni uint32, vtep netip.Addr) []ovs.Action {
	field := "tun_dst"
	if vtep.Is6() {
		field = "tun_ipv6_dst"
	}
	return []ovs.Action{ovs.SetField(hex(vni), "tun_id"), ovs.SetField(vtep.String(), field)}
}

func resubmit(t Table) ovs.Action      { return ovs.Resubmit(0, int(t)) }
func setEthSrc(mac MAC) ovs.Action     { return ovs.SetField(mac.String(), "eth_src") }
func setEthDst(mac MAC) ovs.Action     { return ovs.SetField(mac.String(), "eth_dst") }
func setVNI(v uint32) ovs.Action       { return ovs.SetField(hex(v), "reg0") }
func setSource(kind int) ovs.Action    { return ovs.SetField(hex(kind), "reg1") }
func setOutput(port uint32) ovs.Action { return ovs.SetField(hex(port), "reg2") }

// backToSender makes the frame's sender its destination.
func backToSender() ovs.Action { return ovs.Move("NXM_OF_ETH_SRC[]", "NXM_OF_ETH_DST[]") }

// output sends the frame to the port chosen before.
func output() ovs.Action { return ovs.OutputField("NXM_NX_REG2[]") }

// rawAction is an action that go-openvswitch has no constructor for.
type rawAction string

func (a rawAction) MarshalText() ([]byte, error) { return []byte(a), nil }
func (a rawAction) GoString() string             { return fmt.Sprintf("rawAction(%q)", string(a)) }

// inPortAction sends the frame back where it came from. That of go-openvswitch is in lower case, which no dump has.
const inPortAction = rawAction("IN_PORT")

func toGroup(id uint32) ovs.Action { return rawAction(fmt.Sprintf("group:%d", id)) }

// pause hands the packet to the connection that holds packets.
func pause() ovs.Action { return rawAction(fmt.Sprintf("controller(id=%d,pause)", holderID)) }

// ICMP types (RFC 792).
const (
	icmpEchoReply   = 0
	icmpEchoRequest = 8
)

// ICMPv6 types (RFC 4443, 2710, 3810, 4861).
const (
	icmp6EchoRequest     = 128
	icmp6EchoReply       = 129
	icmp6MulticastQuery  = 130
	icmp6MulticastReport = 131
	icmp6MulticastDone   = 132
	icmp6RouterSolicit   = 133
	icmp6RouterAdvert    = 134
	icmp6NeighborSolicit = 135
	icmp6NeighborAdvert  = 136
	icmp6Redirect        = 137
	icmp6MulticastV2     = 143
)

// UDP ports of DHCP (RFC 2131, section 4.1; RFC 8415, section 7.2).
const (
	dhcpServer  = 67
	dhcpClient  = 68
	dhcp6Client = 546
	dhcp6Server = 547
)

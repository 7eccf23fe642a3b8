package testutil

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// VXLANPort is the UDP port whose payload ParseFrame takes for VXLAN.
const VXLANPort = 4789

// Frame is what ParseFrame understood of an Ethernet frame; the fields of layers that are not there are zero.
type Frame struct {
	Dst, Src         net.HardwareAddr
	EtherType        uint16
	IPSrc, IPDst     netip.Addr // of IP, or of ARP's sender and target
	Protocol         uint8      // IP's, without IPv6 extension headers
	SrcPort, DstPort uint16     // TCP and UDP
	ICMPType         uint8      // either ICMP
	VNI              uint32     // VXLAN
	Inner            *Frame     // VXLAN
}

// Ethernet types.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeIPv6 = 0x86dd
)

// IP protocols.
const (
	ProtocolICMP   = 1
	ProtocolTCP    = 6
	ProtocolUDP    = 17
	ProtocolICMPv6 = 58
)

// ParseFrame reads as many layers of an Ethernet frame as are there.
func ParseFrame(b []byte) Frame {
	var f Frame
	if len(b) < 14 {
		return f
	}
	f.Dst, f.Src = net.HardwareAddr(b[:6]), net.HardwareAddr(b[6:12])
	f.EtherType = binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	switch f.EtherType {
	case EtherTypeARP:
		if len(b) >= 28 {
			f.IPSrc, f.IPDst = addr(b[14:18]), addr(b[24:28])
		}
	case EtherTypeIPv4:
		if len(b) >= 20 {
			f.Protocol, f.IPSrc, f.IPDst = b[9], addr(b[12:16]), addr(b[16:20])
			fragment := binary.BigEndian.Uint16(b[6:]) & 0x1fff
			if header := int(b[0]&0xf) * 4; len(b) >= header && fragment == 0 {
				f.parseTransport(b[header:])
			}
		}
	case EtherTypeIPv6:
		if len(b) >= 40 {
			f.Protocol, f.IPSrc, f.IPDst = b[6], addr(b[8:24]), addr(b[24:40])
			f.parseTransport(b[40:])
		}
	}
	return f
}

func (f *Frame) parseTransport(b []byte) {
	switch {
	case (f.Protocol == ProtocolICMP || f.Protocol == ProtocolICMPv6) && len(b) >= 1:
		f.ICMPType = b[0]
	case (f.Protocol == ProtocolTCP || f.Protocol == ProtocolUDP) && len(b) >= 4:
		f.SrcPort, f.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if f.Protocol == ProtocolUDP && f.DstPort == VXLANPort && len(b) >= 16 {
			f.VNI = binary.BigEndian.Uint32(b[12:]) >> 8
			inner := ParseFrame(b[16:])
			f.Inner = &inner
		}
	}
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b) // 4 or 16 bytes by construction
	return a
}

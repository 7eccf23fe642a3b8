package libcnm_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/testutil"
)

// packet is a UDP datagram that says what it likes. Attacks begin with an honest one and change it.
type packet struct {
	ethDst, ethSrc net.HardwareAddr
	src, dst       netip.Addr
	sport, dport   uint16
	hops           byte
	payload        []byte

	transport func(p packet) (protocol byte, segment []byte) // instead of UDP
	options   []byte                                         // of IPv4, or IPv6 extension headers that end in the transport's number
	firstNext byte                                           // of IPv6, with options
	fragment  int                                            // bytes of what follows the IP header in each fragment; 0: whole
	ether     func(p packet, ip []byte) []byte               // instead of an Ethernet II header
	tunnel    *tunnel
}

// tunnel is how a packet travels between nodes.
type tunnel struct {
	outer packet // UDP to VXLAN's port, unless a lie changes that
	flags byte
	vni   uint32
}

// frames are what to put on the wire.
func (p packet) frames() [][]byte {
	protocol, segment := byte(testutil.ProtocolUDP), udp(p.src, p.dst, p.sport, p.dport, p.payload)
	if p.transport != nil {
		protocol, segment = p.transport(p)
	}
	var out [][]byte
	for _, ip := range p.ip(protocol, segment) {
		frame := ethernet(p.ethDst, p.ethSrc, etherType(p.src), ip)
		if p.ether != nil {
			frame = p.ether(p, ip)
		}
		if p.tunnel != nil {
			outer := p.tunnel.outer
			outer.payload = slices.Concat([]byte{p.tunnel.flags, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, p.tunnel.vni<<8), frame)
			out = append(out, outer.frames()...)
			continue
		}
		out = append(out, frame)
	}
	return out
}

func (p packet) ip(protocol byte, segment []byte) [][]byte {
	if p.src.Is4() {
		var out [][]byte
		for at := 0; ; {
			part, more := cut(segment, at, p.fragment)
			out = append(out, p.ip4(protocol, at, more, part))
			if at += len(part); !more {
				return out
			}
		}
	}
	next, body := protocol, slices.Concat(p.options, segment)
	if p.options != nil {
		next = p.firstNext
	}
	if p.fragment == 0 {
		return [][]byte{p.ip6(next, body)}
	}
	var out [][]byte
	for at := 0; ; {
		part, more := cut(body, at, p.fragment)
		header := []byte{next, 0, 0, 0, 0, 0, 0x12, 0x34}
		offset := uint16(at)
		if more {
			offset |= 1
		}
		binary.BigEndian.PutUint16(header[2:], offset)
		out = append(out, p.ip6(44, slices.Concat(header, part)))
		if at += len(part); !more {
			return out
		}
	}
}

func cut(b []byte, at, size int) (part []byte, more bool) {
	if size == 0 || at+size >= len(b) {
		return b[at:], false
	}
	return b[at : at+size], true
}

func (p packet) ip4(protocol byte, offset int, more bool, payload []byte) []byte {
	h := slices.Concat(make([]byte, 20), p.options)
	h[0], h[8], h[9] = 0x40|byte(len(h)/4), p.hops, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[4:], 0x1234)
	flags := uint16(offset / 8)
	if more {
		flags |= 0x2000
	}
	binary.BigEndian.PutUint16(h[6:], flags)
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return slices.Concat(h, payload)
}

func (p packet) ip6(next byte, payload []byte) []byte {
	h := make([]byte, 8, 40)
	h[0], h[6], h[7] = 0x60, next, p.hops
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	return slices.Concat(h, p.src.AsSlice(), p.dst.AsSlice(), payload)
}

func ethernet(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	return slices.Concat(dst, src, binary.BigEndian.AppendUint16(nil, kind), payload)
}

func etherType(a netip.Addr) uint16 {
	if a.Is4() {
		return testutil.EtherTypeIPv4
	}
	return testutil.EtherTypeIPv6
}

func udp(src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	s := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(s, sport)
	binary.BigEndian.PutUint16(s[2:], dport)
	binary.BigEndian.PutUint16(s[4:], uint16(8+len(payload)))
	return withChecksum(src, dst, testutil.ProtocolUDP, append(s, payload...), 6)
}

// icmp is an ICMP message of the packet's family, with everything after the checksum given.
func icmp(kind4, kind6 byte, body ...[]byte) func(packet) (byte, []byte) {
	return func(p packet) (byte, []byte) {
		rest := slices.Concat(slices.Concat(body...), p.payload)
		if p.src.Is6() {
			return testutil.ProtocolICMPv6, withChecksum(p.src, p.dst, testutil.ProtocolICMPv6, slices.Concat([]byte{kind6, 0, 0, 0}, rest), 2)
		}
		message := slices.Concat([]byte{kind4, 0, 0, 0}, rest)
		binary.BigEndian.PutUint16(message[2:], checksum(message))
		return testutil.ProtocolICMP, message
	}
}

// withChecksum fills in the checksum at an offset of a transport's segment, over the pseudo header of either family.
func withChecksum(src, dst netip.Addr, protocol byte, segment []byte, at int) []byte {
	pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, protocol}, binary.BigEndian.AppendUint16(nil, uint16(len(segment))))
	binary.BigEndian.PutUint16(segment[at:], checksum(slices.Concat(pseudo, segment)))
	return segment
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arp is an ARP message; its frame has room for the payload as padding.
func arp(operation uint16, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) func(packet, []byte) []byte {
	return func(p packet, _ []byte) []byte {
		message := slices.Concat([]byte{0, 1, 8, 0, 6, 4}, binary.BigEndian.AppendUint16(nil, operation),
			senderMAC, sender.AsSlice(), targetMAC, target.AsSlice())
		return ethernet(p.ethDst, p.ethSrc, testutil.EtherTypeARP, append(message, p.payload...))
	}
}

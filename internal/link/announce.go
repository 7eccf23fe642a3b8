package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Announce tells the segment that the interface now has addrs, so that nobody goes on using what he remembers of an
// earlier owner: a gratuitous ARP request for each IPv4 address, an unsolicited neighbour advertisement for each IPv6
// address, once. The interface must be able to carry packets, see WaitUp.
func (h *Handle) Announce(ctx context.Context, name string, addrs []netip.Addr) error {
	l, err := h.Link(ctx, name)
	if err != nil || len(addrs) == 0 {
		return err
	}
	if len(l.MAC) != 6 {
		return classed("announce on", name, errdefs.ErrUnsupported, "not an Ethernet interface")
	}
	return h.inside(func() error {
		// Protocol 0: the socket only sends; nothing is queued on it.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return opError("announce on", name, err)
		}
		defer unix.Close(fd)
		var errs []error
		for _, a := range addrs {
			frame := advertisement(l.MAC, a)
			if a.Is4() {
				frame = gratuitousARP(l.MAC, a)
			}
			errs = append(errs, opError("announce on", name, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Index})))
		}
		return errors.Join(errs...)
	})
}

// gratuitousARP asks for the sender's own address, in an Ethernet frame (RFC 5227, section 3).
func gratuitousARP(mac net.HardwareAddr, a netip.Addr) []byte {
	return slices.Concat(
		[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, []byte{0x08, 0x06},
		[]byte{0, 1, 8, 0, 6, 4, 0, 1}, // Ethernet, IPv4, lengths 6 and 4, request
		mac, a.AsSlice(),
		make([]byte, 6), a.AsSlice(),
	)
}

// advertisement is an unsolicited neighbour advertisement to all nodes, with the override flag (RFC 4861, section 7.2.6).
func advertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	const length = 32
	allNodes := netip.MustParseAddr("ff02::1")
	body := slices.Concat(
		[]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, a.AsSlice(),
		[]byte{2, 1}, mac, // option: target link-layer address, 8 octets
	)
	pseudo := slices.Concat(a.AsSlice(), allNodes.AsSlice(), []byte{0, 0, 0, length, 0, 0, 0, unix.IPPROTO_ICMPV6})
	binary.BigEndian.PutUint16(body[2:], checksum(pseudo, body))
	return slices.Concat(
		[]byte{0x33, 0x33, 0, 0, 0, 1}, mac, []byte{0x86, 0xdd},
		// Hop limit 255 proves to receivers that no router was in between.
		[]byte{0x60, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, 255}, a.AsSlice(), allNodes.AsSlice(),
		body,
	)
}

// checksum is the Internet checksum (RFC 1071) of parts of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, part := range parts {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

package ovsvxlan

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"

	"github.com/libcnm/libcnm/internal/step"
)

// OVS's extensions of OpenFlow (openflow/nicira-ext.h) by which a flow pauses a packet, the switch hands it over with all
// it has worked out of it, and goes on with it where it was when it gets it back. The switch keeps nothing meanwhile.
const (
	ofExperimenter = 4
	ofMeterMod     = 29

	niciraVendor       = 0x2320
	nxSetPacketInForm  = 16
	nxSetControllerID  = 20
	nxResume           = 28
	nxPacketIn2        = 30
	packetInForm2      = 2 // the only form that a paused packet comes in
	propPacket         = 0
	propMetadata       = 6
	holderID           = 0x636e // of the connection that paused packets go to
	ofpMeterController = 0xfffffffe
)

// heldRate is how many packets a second may be held: far above what new endpoints send, and what ovs-vswitchd does besides.
const heldRate = 2000

// sender is what proves who sent a frame that came from a tunnel.
type sender struct {
	vni  uint32
	vtep netip.Addr
	mac  MAC
	addr netip.Addr
}

// askForHeld makes the switch send paused packets by this connection. OVS limits their rate where the datapath can, and
// refuses the limit where it cannot or it is there already.
func askForHeld(w io.Writer) error {
	meter := binary.BigEndian.AppendUint32(nil, 0<<16|1<<2|1<<1) // add, with a burst, in packets
	meter = binary.BigEndian.AppendUint32(meter, ofpMeterController)
	meter = binary.BigEndian.AppendUint32(meter, 1<<16|16) // a band that drops, and its length
	for _, v := range []uint32{heldRate, heldRate, 0} {    // a burst of a second
		meter = binary.BigEndian.AppendUint32(meter, v)
	}
	return step.Do("set rate of held packets", func() error {
		return errors.Join(
			send(w, ofMeterMod, 4, meter),
			send(w, ofExperimenter, 5, nicira(nxSetPacketInForm, binary.BigEndian.AppendUint32(nil, packetInForm2))),
			send(w, ofExperimenter, 6, nicira(nxSetControllerID, binary.BigEndian.AppendUint16(make([]byte, 6), holderID))))
	})
}

func nicira(subtype uint32, body []byte) []byte {
	msg := binary.BigEndian.AppendUint32(nil, niciraVendor)
	return append(binary.BigEndian.AppendUint32(msg, subtype), body...)
}

// resume gives a packet back; what came with it goes back as it was.
func resume(w io.Writer, properties []byte) error {
	return send(w, ofExperimenter, 7, nicira(nxResume, properties))
}

// heldBy reads a message of the switch. It is false for one that holds no packet from a tunnel.
func heldBy(kind uint8, body []byte) (from sender, properties []byte, ok bool) {
	if kind != ofExperimenter || len(body) < 8 ||
		binary.BigEndian.Uint32(body) != niciraVendor || binary.BigEndian.Uint32(body[4:]) != nxPacketIn2 {
		return sender{}, nil, false
	}
	properties = body[8:]
	for rest := properties; len(rest) >= 4; {
		kind, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if length < 4 || length > len(rest) {
			return sender{}, nil, false
		}
		switch kind {
		case propPacket:
			from.readFrame(rest[4:length])
		case propMetadata:
			from.readMetadata(rest[4:length])
		}
		rest = rest[min(len(rest), (length+7)/8*8):]
	}
	return from, properties, from.vtep.IsValid() && from.addr.IsValid()
}

// readFrame reads the source of an untagged IP frame: the pipeline holds no other.
func (s *sender) readFrame(frame []byte) {
	const header, source4, source6 = 14, 12, 8 // lengths of Ethernet's header, and of IP's up to the source
	if len(frame) < header {
		return
	}
	copy(s.mac[:], frame[6:])
	at, size := header+source4, 4
	if binary.BigEndian.Uint16(frame[12:]) == 0x86dd {
		at, size = header+source6, 16
	}
	if len(frame) >= at+size {
		s.addr, _ = netip.AddrFromSlice(frame[at : at+size]) // the length is that of an address
	}
}

// readMetadata reads the fields of the tunnel, which are in OpenFlow's extensible match format.
func (s *sender) readMetadata(fields []byte) {
	const class, nicira = 0x8000, 0x0001
	for len(fields) >= 4 {
		field, size := binary.BigEndian.Uint32(fields)>>8, int(fields[3])
		if fields = fields[4:]; size > len(fields) {
			return
		}
		value := fields[:size]
		switch {
		case (field == class<<8|38<<1 || field == nicira<<8|16<<1) && size == 8: // tun_id
			s.vni = binary.BigEndian.Uint32(value[4:])
		case field == nicira<<8|31<<1 && size == 4, field == nicira<<8|109<<1 && size == 16: // tun_src, tun_ipv6_src
			s.vtep, _ = netip.AddrFromSlice(value) // likewise, by the case
		}
		fields = fields[size:]
	}
}

package ovsvxlan

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// Who is wanted under another tunnel address, MAC or address is not known, and neither is a local endpoint.
func TestSenderOfHeldPacket(t *testing.T) {
	vtep := netip.MustParseAddr("192.0.2.2")
	for _, text := range []string{"10.0.0.9", "fd00::9"} {
		addr := netip.MustParseAddr(text)
		c := NewClaims(numbered(1))
		c.SetPeer(Peer{ID: "p", Network: "1", MAC: MAC{2, 0, 0, 0, 0, 9}, Addrs: []netip.Addr{addr}, VTEP: vtep})
		c.SetEndpoint(Endpoint{ID: "e", Network: "1", MAC: MAC{2, 0, 0, 0, 0, 8}, Addrs: []netip.Addr{addr.Prev()}})
		good := sender{1, vtep, MAC{2, 0, 0, 0, 0, 9}, addr}
		if o, ok := c.peerOf(good); !ok || o != (Object{KindPeer, "1", "p"}) {
			t.Errorf("%+v is %+v, %v", good, o, ok)
		}
		for _, bad := range []sender{
			{1, vtep.Next(), good.mac, addr}, {1, vtep, MAC{2, 0, 0, 0, 0, 7}, addr}, {1, vtep, good.mac, addr.Next()},
			{1, vtep, MAC{2, 0, 0, 0, 0, 8}, addr.Prev()},
		} {
			if _, ok := c.peerOf(bad); ok {
				t.Errorf("%+v is taken for a peer", bad)
			}
		}
	}
}

// What is unknown goes back after its time; what is too much, and what cannot be read, is not held.
func TestHolderIsBounded(t *testing.T) {
	h := newHolder()
	h.take(&bytes.Buffer{}, ofExperimenter, []byte{0, 0, 0x23, 0x20, 0, 0, 0, nxPacketIn2, 0, propPacket, 0, 99})
	if h.count != 0 {
		t.Fatalf("holds %+v", h.arrived)
	}
	nobody := func(sender) (Object, bool) { return Object{}, false }
	for range 10 { // also while those that wait are not looked at
		for range heldAtMost/2 + 1 {
			h.take(&bytes.Buffer{}, ofExperimenter, packetIn())
		}
		h.ready(time.Now().Add(-heldFor), nobody)
	}
	if held := len(h.arrived) + len(h.waiting); held != heldAtMost || h.count != held {
		t.Errorf("%d are held and %d counted, want %d", held, h.count, heldAtMost)
	}
	back, _, _ := h.ready(time.Now().Add(2*heldFor), nobody)
	if len(back) != heldAtMost {
		t.Fatalf("%d go back after their time, want %d", len(back), heldAtMost)
	}
	if want := (sender{100, netip.MustParseAddr("192.0.2.2"), MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("10.0.0.9")}); back[0].from != want {
		t.Errorf("read as from %+v, want %+v", back[0].from, want)
	}
	if h.count != 0 || h.bytes != 0 {
		t.Errorf("%d packets of %d bytes are held for longer than %s", h.count, h.bytes, heldFor)
	}
	const size = 60 << 10
	large := append(packetIn(), 0xff, 0xff, size>>8, size&0xff) // one more property
	large = append(large, make([]byte, size-4)...)
	for range heldAtMost {
		h.take(&bytes.Buffer{}, ofExperimenter, large)
	}
	if h.bytes > heldBytes || h.bytes < heldBytes-len(large) {
		t.Errorf("%d bytes are held, want almost %d", h.bytes, heldBytes)
	}
	known := func(sender) (Object, bool) { return Object{KindPeer, "1", "p"}, true }
	if h.look(); len(h.arrived) == 0 {
		t.Error("nothing is held")
	}
	if back, flows, _ := h.ready(time.Now(), known); len(back) == 0 || len(flows) != 1 || h.count != 0 {
		t.Errorf("of a known sender %d packets go back with %d flows, and %d stay", len(back), len(flows), h.count)
	}
}

// packetIn is the part of NXT_PACKET_IN2 that is read: the frame, tun_id and tun_src.
func packetIn() []byte {
	frame := append([]byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 8, 0}, make([]byte, 20)...)
	copy(frame[26:], []byte{10, 0, 0, 9})
	body := append([]byte{0, propPacket, 0, byte(4 + len(frame))}, frame...)
	body = append(body, make([]byte, (8-len(body)%8)%8)...)
	fields := []byte{0x80, 0, 38 << 1, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 1, 31 << 1, 4, 192, 0, 2, 2}
	body = append(body, 0, propMetadata, 0, byte(4+len(fields)))
	return nicira(nxPacketIn2, append(body, fields...))
}

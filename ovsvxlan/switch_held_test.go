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

// What is unknown goes back after its time, what is too much at once, and what cannot be read is not held.
func TestHolderIsBounded(t *testing.T) {
	h := newHolder()
	h.take(&bytes.Buffer{}, ofExperimenter, []byte{0, 0, 0x23, 0x20, 0, 0, 0, nxPacketIn2, 0, propPacket, 0, 99})
	if len(h.packets) != 0 {
		t.Fatalf("holds %+v", h.packets)
	}
	nobody := func(sender) (Object, bool) { return Object{}, false }
	for range heldAtMost + 1 {
		h.take(&bytes.Buffer{}, ofExperimenter, packetIn())
	}
	back, _, _ := h.ready(time.Now(), nobody)
	if len(back) == 0 || len(h.packets) >= heldAtMost+1 {
		t.Errorf("%d went back and %d are held, at most %d should be", len(back), len(h.packets), heldAtMost)
	}
	if want := (sender{100, netip.MustParseAddr("192.0.2.2"), MAC{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("10.0.0.9")}); back[0].from != want {
		t.Errorf("read as from %+v, want %+v", back[0].from, want)
	}
	if h.ready(time.Now().Add(heldFor), nobody); len(h.packets) != 0 {
		t.Errorf("%d are held for longer than %s", len(h.packets), heldFor)
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

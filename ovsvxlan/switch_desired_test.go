package ovsvxlan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func testBase() Base {
	return Base{
		TunnelPort: tunnelNumber, TunnelUDPPort: 4789, GatewayPort: gatewayNumber,
		GatewayMAC: MAC{2, 0, 0, 0, 0, 1}, GatewayHostMAC: MAC{2, 0, 0, 0, 0, 2},
		TransitPrefix4: netip.MustParsePrefix("169.254.64.0/18"), TransitPrefix6: netip.MustParsePrefix("fd6c::/64"),
	}
}

func numbered(n int) Network {
	return Network{
		ID: fmt.Sprint(n), VNI: uint32(n), GatewayMAC: MAC{2, 0, 0, 0, 1, 1},
		Subnets: []Subnet{{Prefix: netip.MustParsePrefix("10.0.0.0/16"), Gateway: netip.MustParseAddr("10.0.0.1")}},
	}
}

// Every number of a node has transit addresses of its own inside the ranges, and the last is refused by name.
func TestZonesAndTransitAddresses(t *testing.T) {
	d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{})
	seen := map[netip.Addr]string{HostAddr(d.base.TransitPrefix4): "the host", HostAddr(d.base.TransitPrefix6): "the host"}
	broadcast := netip.MustParseAddr("169.254.127.255")
	for i := 1; i <= maxZone; i++ {
		n := numbered(i)
		d.zones[n.ID] = uint16(i) // what zone would find; finding each is quadratic
		a4, a6 := transitAddr(d.base.TransitPrefix4, uint16(i)), transitAddr(d.base.TransitPrefix6, uint16(i))
		for _, a := range []netip.Addr{a4, a6} {
			if other, taken := seen[a]; taken || a == broadcast || !d.base.transit(a).Contains(a) {
				t.Fatalf("network number %d has %s, which is %s's or outside", i, a, other)
			}
			seen[a] = n.ID
		}
	}
	if _, err := d.setNetwork(numbered(maxZone + 1)); !errors.Is(err, errdefs.ErrExhausted) {
		t.Errorf("one network too many: %v", err)
	}
	delete(d.zones, "77")
	if _, err := d.setNetwork(numbered(maxZone + 1)); err != nil || d.zones[fmt.Sprint(maxZone+1)] != 77 {
		t.Errorf("the freed number was not used: %v, %v", d.zones[fmt.Sprint(maxZone+1)], err)
	}
}

// A port's number survives with its device, is not given again at once, and comes round in the end.
func TestPortNumbers(t *testing.T) {
	d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{"old": 20})
	if _, err := d.setNetwork(numbered(1)); err != nil {
		t.Fatal(err)
	}
	attach := func(device string, host byte) uint32 {
		t.Helper()
		e := LocalEndpoint{Interface: device, Endpoint: Endpoint{ID: device, Network: "1", MAC: MAC{2, 0, 0, 0, 2, host},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, host})}}}
		if _, err := d.setEndpoint(e); err != nil {
			t.Fatal(err)
		}
		return d.networks["1"].endpoints[device].Port
	}
	if n := attach("old", 1); n != 20 {
		t.Errorf("a known device got %d, want its 20", n)
	}
	if n := attach("a", 2); n != 21 {
		t.Errorf("a new device got %d, want 21", n)
	}
	if n := attach("a", 3); n != 21 {
		t.Errorf("a changed endpoint moved to %d", n)
	}
	d.dropEndpoint("1", "a")
	if n := attach("b", 4); n != 22 {
		t.Errorf("after a removal a new device got %d, want 22", n)
	}
	d.numbers.next = lastNumber
	if n := attach("c", 5); n != lastNumber {
		t.Errorf("the last number is %d", n)
	}
	if n := attach("d", 6); n != firstNumber {
		t.Errorf("after the last number comes %d", n)
	}
}

// A number that two rows claim, which only others can have written, is free when both are gone.
func TestPortNumberClaimedTwice(t *testing.T) {
	p := newPortNumbers(map[string]uint32{"a": firstNumber, "b": firstNumber})
	p.release("a")
	p.release("a")
	if n, err := p.of("c"); err != nil || n != firstNumber+1 {
		t.Errorf("while one has %d the next gets %d, %v", firstNumber, n, err)
	}
	p.release("b")
	if n, err := p.of("c"); err != nil || n != firstNumber {
		t.Errorf("after both are gone the next gets %d, %v", n, err)
	}
}

// A device is the port of one endpoint at a time.
func TestDeviceOfAnother(t *testing.T) {
	d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{})
	if _, err := d.setNetwork(numbered(1)); err != nil {
		t.Fatal(err)
	}
	attach := func(id, device string, host byte) error {
		_, err := d.setEndpoint(LocalEndpoint{Interface: device, Endpoint: Endpoint{ID: id, Network: "1", MAC: MAC{2, 0, 0, 0, 2, host},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, host})}}})
		return err
	}
	if err := errors.Join(attach("one", "a", 1), attach("one", "a", 2)); err != nil {
		t.Fatal(err)
	}
	if err := attach("two", "a", 3); !errors.Is(err, errdefs.ErrConflict) {
		t.Errorf("another's device: %v", err)
	}
	if err := errors.Join(attach("one", "b", 1), attach("two", "a", 3)); err != nil {
		t.Errorf("a device that was given up: %v", err)
	}
	if p, ok := d.endpointPort("a"); !ok || p.endpoint != "two" {
		t.Errorf("the port of device a is %+v, want that of endpoint two", p)
	}
	d.dropEndpoint("1", "two")
	if p, ok := d.endpointPort("a"); ok {
		t.Errorf("the port of a device that was given up is %+v", p)
	}
	d.dropNetwork("1")
	if p, ok := d.endpointPort("b"); ok {
		t.Errorf("the port of a network that is gone is %+v", p)
	}
}

func TestStoredZones(t *testing.T) {
	got := storedZones(&bridgeRow{ExternalIDs: map[string]string{
		"libcnm": "bridge", zonePrefix + "a": "5", zonePrefix + "b": "5", zonePrefix + "c": "0", zonePrefix + "d": "16382",
		zonePrefix + "e": "many", "other": "6",
	}})
	if len(got) != 1 || got["a"] != 5 {
		t.Errorf("read %v, want only a: 5", got)
	}
}

// A peer or member that no tunnel from here can reach is left out, and nothing else is.
func TestOtherFamilyIsRefused(t *testing.T) {
	d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{})
	d.vtep = netip.MustParseAddr("192.0.2.1")
	four, six := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	peer := func(id string, vtep netip.Addr, last byte, generation uint64) Peer {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, last})
		return Peer{ID: id, Network: "1", MAC: MAC{2, 0, 0, 0, 3, last}, Addrs: []netip.Addr{addr}, VTEP: vtep, Generation: generation}
	}
	state := State{
		Network: numbered(1),
		Peers:   []Peer{peer("six", six, 2, 1), peer("four", four, 3, 2)}, Members: []netip.Addr{six, four},
	}
	refused := d.fill([]State{state})
	if err := reasons(refused); len(refused) != 2 || !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), "peer six") {
		t.Errorf("refused: %v, want the peer and the member with the tunnel address %s", err, six)
	}
	n := d.networks["1"]
	if !slices.Equal(n.members, []netip.Addr{four}) || len(n.claims.peers) != 1 {
		t.Errorf("members %v, peers %v, want %s and peer four", n.members, n.claims.peers, four)
	}
	// A peer that moves to where it cannot be reached is gone from where it was.
	objects, refused, err := d.setPeers("1", PeerUpdate{Set: []Peer{peer("four", six, 3, 3)}, Members: []netip.Addr{four}})
	if err != nil || len(refused) != 1 || len(n.claims.peers) != 0 || !slices.Contains(objects, Object{KindPeer, "1", "four"}) {
		t.Errorf("moved: %v, %v, %v; peers %v", objects, refused, err, n.claims.peers)
	}
}

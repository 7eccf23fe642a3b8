package ovsvxlan

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// A peer that cannot be is left out with a reason, as a member and as an endpoint, and the others are taken.
func TestPeersThatCannotBe(t *testing.T) {
	good := netip.MustParseAddr("192.0.2.2")
	for addr, says := range map[string]string{
		"192.0.2.1":          "this node's own",
		"2001:db8::1":        "another family",
		"0.0.0.0":            "not a unicast address",
		"127.0.0.1":          "not a unicast address",
		"239.1.1.1":          "not a unicast address",
		"255.255.255.255":    "not a unicast address",
		"::ffff:192.0.2.3":   "not a unicast address",
		"fe80::1%$(reboot)":  "has a zone",
		"fe80::1%a\nactions": "has a zone",
	} {
		d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{})
		d.vtep = netip.MustParseAddr("192.0.2.1")
		if _, err := d.setNetwork(numbered(1)); err != nil {
			t.Fatal(err)
		}
		bad := netip.MustParseAddr(addr)
		peer := func(id string, last byte, vtep netip.Addr) Peer {
			return Peer{ID: id, Network: "1", MAC: MAC{2, 0, 0, 0, 2, last}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})}, VTEP: vtep}
		}
		_, refused, err := d.setPeers("1", PeerUpdate{
			Full: true, Set: []Peer{peer("bad", 8, bad), peer("good", 9, good)}, Members: []netip.Addr{bad, good},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(refused) != 2 {
			t.Errorf("%s: refused %v, want it as member and as peer", addr, refused)
		}
		for _, r := range refused {
			if !errors.Is(r.err, errdefs.ErrInvalid) || !strings.Contains(r.err.Error(), says) {
				t.Errorf("%s: %v, want it to say %q", addr, r.err, says)
			}
		}
		n := d.networks["1"]
		if len(n.members) != 1 || n.members[0] != good || len(n.claims.peers) != 1 {
			t.Errorf("%s: members %v and %d peers, want the good one alone", addr, n.members, len(n.claims.peers))
		}
	}
}

// What is as long as the members are many is compiled again only when they have changed, or when everything is told.
func TestMembersThatStay(t *testing.T) {
	d := newDesired(testBase(), map[string]uint16{}, map[string]uint32{})
	if _, err := d.setNetwork(numbered(1)); err != nil {
		t.Fatal(err)
	}
	one, two := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	for i, c := range []struct {
		full    bool
		members []netip.Addr
		compile bool
	}{
		{false, []netip.Addr{one}, true},
		{false, []netip.Addr{one}, false},
		{true, []netip.Addr{one}, true},
		{false, []netip.Addr{one, two}, true},
		{false, []netip.Addr{two}, true},
		{false, nil, true},
		{false, nil, false},
	} {
		objects, _, err := d.setPeers("1", PeerUpdate{Full: c.full, Members: c.members})
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(objects, Object{KindMembers, "1", ""}); got != c.compile {
			t.Errorf("update %d, full %v, members %v: compiled is %v", i, c.full, c.members, got)
		}
	}
}

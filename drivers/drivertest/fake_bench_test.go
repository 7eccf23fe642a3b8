package drivertest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

// A simulation of many nodes spends its time here: one peer changes in a network that has 30,000.
func BenchmarkFakeApplyPeers(b *testing.B) {
	d := NewFake(FakeConfig{Info: clusterInfo})
	if err := d.ApplyNetwork(b.Context(), drivers.Network{ID: "n", VNI: 1}); err != nil {
		b.Fatal(err)
	}
	peers := d.(drivers.PeerApplier)
	peer := func(i int, generation uint64) drivers.Peer {
		return drivers.Peer{
			Endpoint:   drivers.EndpointID(fmt.Sprintf("%032x", i)),
			MAC:        drivers.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
			Addrs:      []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
			VTEP:       netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}),
			Generation: generation,
		}
	}
	full := drivers.PeerUpdate{Full: true}
	for i := range 30000 {
		full.Set = append(full.Set, peer(i, 1))
	}
	if err := peers.ApplyPeers(b.Context(), "n", full); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	generation := uint64(1)
	for b.Loop() {
		generation++
		u := drivers.PeerUpdate{Set: []drivers.Peer{peer(7, generation)}}
		if err := peers.ApplyPeers(b.Context(), "n", u); err != nil {
			b.Fatal(err)
		}
	}
}

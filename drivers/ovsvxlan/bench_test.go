package ovsvxlan

import (
	"fmt"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// BenchmarkApplyPeers moves one endpoint of another node to a third, in a network that has many. What that costs must not
// depend on how many.
func BenchmarkApplyPeers(b *testing.B) {
	for _, count := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("one of %d", count), func(b *testing.B) {
			d := newNode(b).newDriver(b)
			n := roomy()
			rig.Must(b, d.ApplyNetwork(b.Context(), n))
			all := rig.Peers(n, count)
			rig.Must(b, d.ApplyPeers(b.Context(), n.ID, all))
			moving := all.Set[count/2]
			b.ReportAllocs()
			for b.Loop() {
				moving.Generation++
				moving.VTEP = all.Members[moving.Generation%uint64(len(all.Members))].VTEP
				rig.Must(b, d.ApplyPeers(b.Context(), n.ID, drivers.PeerUpdate{Set: []drivers.Peer{moving}, Members: all.Members}))
			}
		})
	}
}

// BenchmarkEndpoint is what one endpoint more costs on a host that has none yet, or many.
func BenchmarkEndpoint(b *testing.B) {
	for _, others := range []int{0, crowd} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			d, want := newCrowd(b, others)
			rig.BenchmarkOneMore(b, d, want[0].Network, others)
		})
	}
}

// BenchmarkNetwork is what one network more costs on a host that has one, or many.
func BenchmarkNetwork(b *testing.B) {
	for _, others := range []int{1, 500} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			d := newNode(b).newDriver(b)
			want := make([]drivers.NetworkState, others)
			for i := range want {
				want[i].Network = numbered(i + 1)
			}
			rig.Must(b, d.Sync(b.Context(), want))
			n := numbered(others + 1)
			b.ReportAllocs()
			for b.Loop() {
				rig.Must(b, d.ApplyNetwork(b.Context(), n))
				rig.Must(b, d.RemoveNetwork(b.Context(), n.ID))
			}
		})
	}
}

// BenchmarkCheck looks at a host with many endpoints and finds all right, as a controller does every few seconds.
func BenchmarkCheck(b *testing.B) {
	d, want := newCrowd(b, crowd)
	b.ReportAllocs()
	for b.Loop() {
		found, err := d.Check(b.Context(), want)
		rig.Must(b, err)
		if len(found) != 0 {
			b.Fatalf("%d differences, the first %+v", len(found), found[0])
		}
	}
}

// BenchmarkSync finds the same by the way that repairs.
func BenchmarkSync(b *testing.B) {
	d, want := newCrowd(b, crowd)
	b.ReportAllocs()
	for b.Loop() {
		rig.Must(b, d.Sync(b.Context(), want))
	}
}

// crowd is many endpoints, few enough to be made in a second or two.
const crowd = 500

// newCrowd makes a driver whose host has a network of count endpoints.
func newCrowd(b *testing.B, count int) (*Driver, []drivers.NetworkState) {
	b.Helper()
	d := newNode(b).newDriver(b)
	want := []drivers.NetworkState{rig.Crowd(roomy(), count, rig.NewPath(b))}
	rig.Must(b, d.Sync(b.Context(), want))
	return d, want
}

// numbered is one of more networks than rig has subnets for.
func numbered(i int) drivers.Network {
	n := overlay(1)
	n.ID, n.VNI = drivers.NetworkID(rig.ID(i)), uint32(i)
	return n
}

func roomy() drivers.Network {
	n := rig.Roomy(1)
	n.VNI = 1
	return n
}

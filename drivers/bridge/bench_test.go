package bridge

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// BenchmarkEndpointUp is what an endpoint costs above the kernel: namespace, veth into a bridge, addresses and default
// route of both families. "floor" does the same with the fewest netlink requests and nothing else. Taking down is not
// measured.
func BenchmarkEndpointUp(b *testing.B) {
	d := newDriver(b)
	n := newNetwork(1)
	rig.Must(b, d.ApplyNetwork(b.Context(), n))
	b.Run("floor", func(b *testing.B) { benchFloor(b, n) })
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			path := filepath.Join(b.TempDir(), "ns")
			rig.Must(b, link.CreateNS(path))
			ep := rig.Endpoint(n, 10, path, "eth0")
			a, err := d.ApplyEndpoint(b.Context(), ep)
			rig.Must(b, err)
			rig.Must(b, rig.Configure(b.Context(), ep, a))
			b.StopTimer()
			rig.Must(b, errors.Join(d.RemoveEndpoint(b.Context(), n.ID, ep.ID), link.DeleteNS(path)))
			b.StartTimer()
		}
	})
}

func benchFloor(b *testing.B, n drivers.Network) {
	b.Helper()
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	rig.Must(b, err)
	defer host.Close()
	master, err := host.LinkByName(bridgeName(n.ID))
	rig.Must(b, err)
	ep := rig.Endpoint(n, 10, "", "eth0")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	rig.Must(b, err)
	defer home.Close()
	for b.Loop() {
		ns, err := netns.New() // leaves the thread inside
		rig.Must(b, err)
		inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		rig.Must(b, errors.Join(err, netns.Set(home)))
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "floor0", MTU: n.MTU, Flags: unix.IFF_UP, MasterIndex: master.Attrs().Index},
			PeerName:  "eth0", PeerHardwareAddr: ep.MAC.HardwareAddr(), PeerNamespace: netlink.NsFd(ns),
		}
		rig.Must(b, host.LinkAdd(veth))
		l, err := inside.LinkByName("eth0")
		rig.Must(b, err)
		for _, p := range ep.Addrs {
			rig.Must(b, inside.AddrAdd(l, addrOf(b, p.String())))
		}
		rig.Must(b, inside.LinkSetUp(l))
		for _, s := range n.Subnets {
			rig.Must(b, inside.RouteAdd(&netlink.Route{Gw: s.Gateway.AsSlice()}))
		}
		b.StopTimer()
		rig.Must(b, errors.Join(host.LinkDel(veth), ns.Close()))
		inside.Close()
		b.StartTimer()
	}
}

func addrOf(b *testing.B, text string) *netlink.Addr {
	b.Helper()
	a, err := netlink.ParseAddr(text)
	rig.Must(b, err)
	a.Flags = unix.IFA_F_NODAD
	return a
}

// crowd is as many endpoints as are made in a second or two.
const crowd = 500

// BenchmarkEndpoint is what one endpoint more costs on a host that has none yet, or many.
func BenchmarkEndpoint(b *testing.B) {
	for _, others := range []int{0, crowd} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			d, want := newCrowd(b, others)
			rig.BenchmarkOneMore(b, d, want[0].Network, others)
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

// newCrowd makes a driver whose host has a network of count endpoints.
func newCrowd(b *testing.B, count int) (*Driver, []drivers.NetworkState) {
	b.Helper()
	d := newDriver(b)
	n := rig.Roomy(1)
	n.MTU = 1400
	want := []drivers.NetworkState{rig.Crowd(n, count, rig.NewPath(b))}
	rig.Must(b, d.Sync(b.Context(), want))
	return d, want
}

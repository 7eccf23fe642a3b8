package rig

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

// Roomy is number n with subnets that have room for many.
func Roomy(n int) drivers.Network {
	nw := Network(n)
	nw.Subnets[0].Prefix = netip.PrefixFrom(nw.Subnets[0].Prefix.Addr(), 16)
	return nw
}

// Crowd is count endpoints of a roomy network, all in one sandbox: namespaces of their own would cost more than they tell.
func Crowd(n drivers.Network, count int, path string) drivers.NetworkState {
	s := drivers.NetworkState{Network: n}
	for i := range count {
		s.Endpoints = append(s.Endpoints, Member(n, i, path))
	}
	return s
}

// Member is the i-th endpoint of a roomy network, with an interface name of its own.
func Member(n drivers.Network, i int, path string) drivers.Endpoint {
	ep := drivers.Endpoint{
		ID: drivers.EndpointID(ID(i + 1)), Network: n.ID, NetNS: path, Interface: fmt.Sprint("e", i), MAC: memberMAC(i),
		Generation: uint64(i + 1),
	}
	for k, addr := range memberAddrs(n, i) {
		ep.Addrs = append(ep.Addrs, netip.PrefixFrom(addr, n.Subnets[k].Prefix.Bits()))
	}
	return ep
}

// peerNodes are the nodes that Peers is spread over.
const peerNodes = 100

// Peers is count endpoints of a roomy network on other nodes. They are not those of Crowd.
func Peers(n drivers.Network, count int) drivers.PeerUpdate {
	u := drivers.PeerUpdate{Full: true}
	for i := range peerNodes {
		u.Members = append(u.Members, drivers.Member{
			Node: fmt.Sprint("node", i), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i)}), MTU: 1500,
		})
	}
	const others = 1 << 14 // beyond every member of a crowd
	for i := range count {
		u.Set = append(u.Set, drivers.Peer{
			Endpoint: drivers.EndpointID(ID(others + i)), MAC: memberMAC(others + i), Addrs: memberAddrs(n, others+i),
			VTEP: u.Members[i%peerNodes].VTEP, Generation: uint64(others + i),
		})
	}
	return u
}

func memberMAC(i int) drivers.MAC { return drivers.MAC{2, 0x42, 0, 0, byte((i + 2) >> 8), byte(i + 2)} }

// memberAddrs are the i-th after the gateway of each subnet.
func memberAddrs(n drivers.Network, i int) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range n.Subnets {
		raw := s.Prefix.Addr().AsSlice()
		raw[len(raw)-2], raw[len(raw)-1] = byte((i+2)>>8), byte(i+2)
		addr, _ := netip.AddrFromSlice(raw) // always 4 or 16 bytes
		addrs = append(addrs, addr)
	}
	return addrs
}

// BenchmarkOneMore brings one more endpoint of a roomy network up and down again, beside so many others.
func BenchmarkOneMore(b *testing.B, d drivers.Driver, n drivers.Network, others int) {
	b.Helper()
	ep := Member(n, others, NewPath(b))
	b.ReportAllocs()
	for b.Loop() {
		_, err := d.ApplyEndpoint(b.Context(), ep)
		Must(b, err)
		Must(b, d.RemoveEndpoint(b.Context(), n.ID, ep.ID))
	}
}

package drivertest

import (
	"crypto/sha256"
	"fmt"
	"net/netip"

	"github.com/libcnm/libcnm/drivers"
)

// state is a named desired state of the whole host.
type state struct {
	name string
	want []drivers.NetworkState
}

// world makes the networks and endpoints the laws speak of, fitted to the driver.
type world struct {
	e    *env
	info drivers.Info
	peer bool // the driver has peers
}

func newWorld(e *env) world {
	_, peer := e.peers(e.d)
	return world{e: e, info: e.d.Info(), peer: peer}
}

// id makes an identifier as random-looking as a real one: drivers derive names of host objects from it.
func id(parts ...any) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(parts...))))[:32]
}

// subnetOf is the third octet of a network's subnet. Networks of drivers that allow it overlap.
func (w world) subnetOf(n int) int {
	if w.info.Overlap {
		return 0
	}
	return n
}

// network returns the n-th network, dual stack, without endpoints. Odd ones are internal.
func (w world) network(n int) drivers.NetworkState {
	net := drivers.Network{
		ID:       drivers.NetworkID(id("network", n)),
		Name:     fmt.Sprintf("net%d", n),
		Internal: n%2 == 1 && w.info.Addressing,
	}
	if w.info.VNI {
		net.VNI = uint32(4096 + n)
	}
	if w.info.Addressing {
		for _, family := range []string{"10.91.%d.", "fd91:%d::"} {
			base := fmt.Sprintf(family, w.subnetOf(n))
			net.Subnets = append(net.Subnets, subnet(base))
		}
	}
	return drivers.NetworkState{Network: net}
}

func subnet(base string) drivers.Subnet {
	if base[len(base)-1] == ':' {
		return drivers.Subnet{Prefix: netip.MustParsePrefix(base + "/64"), Gateway: netip.MustParseAddr(base + "1")}
	}
	return drivers.Subnet{Prefix: netip.MustParsePrefix(base + "0/24"), Gateway: netip.MustParseAddr(base + "1")}
}

// addrs returns the host-th address of each of the network's subnets.
func addrs(n drivers.Network, host int) []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets {
		raw := s.Prefix.Addr().AsSlice()
		raw[len(raw)-1] = byte(host)
		a, _ := netip.AddrFromSlice(raw) // always 4 or 16 bytes
		out = append(out, a)
	}
	return out
}

// endpoint returns the i-th endpoint of s's network, joined to a sandbox.
func (w world) endpoint(s drivers.NetworkState, i, sandbox int, ifname string) drivers.Endpoint {
	w.e.Helper()
	ep := drivers.Endpoint{
		ID:        drivers.EndpointID(id("endpoint", s.Network.Name, i)),
		Network:   s.Network.ID,
		NetNS:     w.e.sandbox(sandbox).NetNS,
		Interface: ifname,

		Generation: uint64(10 + i),
	}
	if w.info.Addressing {
		ep.MAC = drivers.MAC{0x02, 0x42, 0, 0, s.Network.Name[3], byte(10 + i)}
		for k, a := range addrs(s.Network, 10+i) {
			ep.Addrs = append(ep.Addrs, netip.PrefixFrom(a, s.Network.Subnets[k].Prefix.Bits()))
		}
	}
	return ep
}

// vteps are addresses of other nodes; documentation addresses, so that nothing answers.
var vteps = []netip.Addr{
	netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("192.0.2.13"),
}

// peerOf returns the i-th peer of s's network with the addresses of host number host, on another node.
func (w world) peerOf(s drivers.NetworkState, i, host, node int, generation uint64) drivers.Peer {
	return drivers.Peer{
		Endpoint:   drivers.EndpointID(id("peer", s.Network.Name, i)),
		MAC:        drivers.MAC{0x02, 0x42, 1, 0, 0, byte(i)},
		Addrs:      addrs(s.Network, host),
		VTEP:       vteps[node],
		Generation: generation,
	}
}

func members(nodes ...int) []drivers.Member {
	var out []drivers.Member
	for _, n := range nodes {
		out = append(out, drivers.Member{Node: fmt.Sprintf("node%d", n), VTEP: vteps[n]})
	}
	return out
}

// adapt lets the host fit a state to its driver.
func (w world) adapt(s drivers.NetworkState) drivers.NetworkState {
	if w.e.host.Adapt != nil {
		w.e.host.Adapt(&s)
	}
	return s
}

// single is the plainest state with something in it: a network, an endpoint, and two peers where there are peers.
func (w world) single() drivers.NetworkState {
	w.e.Helper()
	s := w.network(0)
	s.Endpoints = []drivers.Endpoint{w.endpoint(s, 0, 0, "eth0")}
	if w.peer {
		s.Peers = []drivers.Peer{w.peerOf(s, 0, 100, 0, 1), w.peerOf(s, 1, 101, 1, 2)}
		s.Members = members(0, 1)
	}
	return w.adapt(s)
}

// states returns the states the walks go through, the empty one first.
func (w world) states() []state {
	w.e.Helper()
	a, b := w.network(0), w.network(1)
	with := func(s drivers.NetworkState, eps ...drivers.Endpoint) drivers.NetworkState {
		s.Endpoints = eps
		return s
	}
	one := func(eps ...drivers.Endpoint) []drivers.NetworkState { return []drivers.NetworkState{with(a, eps...)} }
	out := []state{
		{"nothing", nil},
		{"one endpoint", one(w.endpoint(a, 0, 0, "eth0"))},
		{"two endpoints", one(w.endpoint(a, 0, 0, "eth0"), w.endpoint(a, 1, 1, "eth0"))},
		{"two endpoints, each in the other's place", one(w.endpoint(a, 0, 1, "eth0"), w.endpoint(a, 1, 0, "eth0"))},
	}
	if !w.info.Singleton {
		out = append(out, state{"two networks, one sandbox in both", []drivers.NetworkState{
			with(a, w.endpoint(a, 1, 1, "eth0")),
			with(b, w.endpoint(b, 0, 1, "eth1"), w.endpoint(b, 1, 0, "eth0")),
		}})
	}
	second := with(a, w.endpoint(a, 1, 1, "eth0"))
	if w.peer {
		first := with(a, w.endpoint(a, 0, 0, "eth0"))
		first.Peers, first.Members = []drivers.Peer{w.peerOf(a, 0, 100, 0, 1), w.peerOf(a, 1, 101, 1, 2)}, members(0, 1)
		second.Peers, second.Members = []drivers.Peer{w.peerOf(a, 0, 100, 2, 3), w.peerOf(a, 2, 101, 0, 4)}, members(0, 2)
		out = append(out,
			state{"peers on two nodes", []drivers.NetworkState{first}})
		changed := []drivers.NetworkState{second}
		if !w.info.Singleton {
			third := with(b, w.endpoint(b, 0, 0, "eth1"))
			third.Peers, third.Members = []drivers.Peer{w.peerOf(b, 0, 100, 1, 1)}, members(1)
			changed = append(changed, third)
		}
		out = append(out, state{"a peer moved, an address reused, peers in every network", changed})
	}
	for _, s := range out {
		for i := range s.want {
			s.want[i] = w.adapt(clone(s.want[i]))
		}
	}
	return out
}

// full returns the last state: the one with the most in it.
func (w world) full() state {
	w.e.Helper()
	all := w.states()
	return all[len(all)-1]
}

// clone copies a state, so that what one side does to its slices the other does not see.
func clone(s drivers.NetworkState) drivers.NetworkState {
	s.Network = cloneNetwork(s.Network)
	s.Endpoints = cloneEach(s.Endpoints, cloneEndpoint)
	s.Peers = cloneEach(s.Peers, clonePeer)
	s.Members = cloneEach(s.Members, func(m drivers.Member) drivers.Member { return m })
	return s
}

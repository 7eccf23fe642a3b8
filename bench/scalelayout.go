package main

import (
	"fmt"
	"net/netip"
	"slices"
)

// What a cluster consists of: 30 endpoints per node, which makes 30,000 on 1,000 nodes, the figure that Docker tested
// Swarm 1.0 at. Each node is in three networks, and each network spans 30 nodes and 300 endpoints whatever the size of the
// cluster, so that what grows with the cluster shows.
const (
	scalePerNode    = 3  // networks
	scalePerNetwork = 10 // endpoints of one node in one network
	scaleSpread     = 10 // nodes per network in the cluster: with three for each node, 30 are in each
)

// maxNodes is how many have different networks, subnets and addresses, and files enough.
const maxNodes = 1000

// layout says which node is in which network; both are numbers.
type layout struct {
	nodes    [][]int // of each network
	networks [][]int // of each node
}

func newLayout(nodes int) layout {
	count := max(scalePerNode, nodes/scaleSpread)
	l := layout{nodes: make([][]int, count), networks: make([][]int, nodes)}
	for i := range nodes {
		// Nodes with one first network have different second and third ones, so that networks share few nodes.
		stride := 1 + (i/count)%((count-1)/2)
		for k := range scalePerNode {
			network := (i + k*stride) % count
			l.networks[i] = append(l.networks[i], network)
			l.nodes[network] = append(l.nodes[network], i)
		}
	}
	return l
}

func (l layout) in(node, network int) bool { return slices.Contains(l.networks[node], network) }

func scaleNetworkName(network int) string { return fmt.Sprintf("net%d", network) }

func scaleNodeName(node int) string { return fmt.Sprintf("node%d", node) }

// scaleUnderlay is the address of a node, which is on loopback here.
func scaleUnderlay(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 30, byte(node >> 8), byte(node)})
}

// scaleSubnets are a network's, of both families.
func scaleSubnets(network int) [2]netip.Prefix {
	six := [16]byte{0: 0xfd, 1: 0x77, 6: byte(network >> 8), 7: byte(network)}
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(network), 0, 0}), 16),
		netip.PrefixFrom(netip.AddrFrom16(six), 64),
	}
}

// Package ovsvxlan turns overlay networks into Open vSwitch flows and groups and keeps a bridge equal to them.
//
// It has two halves. The pure half, [CompileBase] and its siblings, translates one object (the bridge's ports, a
// network, its members, an endpoint, a peer) into a [Program] of its own, so that one change among ten thousand peers
// costs one peer. [Claims] decides beforehand who owns an address that two objects want. The other half, [Switch],
// owns the bridge, its ports and what is programmed into it.
//
// The package does not make interfaces, routes or firewall rules, and decides nothing about addresses or VNIs.
// docs/pipeline.md shows every table with examples.
//
//	base, err := ovsvxlan.CompileBase(b)
//	network, err := ovsvxlan.CompileNetwork(b, n)
//	members, err := ovsvxlan.CompileMembers(b, n, m)
//	endpoint, err := ovsvxlan.CompileEndpoint(b, n, ep)
//	peer, err := ovsvxlan.CompilePeer(b, n, p)
//	want, err := ovsvxlan.Merge(base, network, members, endpoint, peer)
//	have, err := ovsvxlan.ParseDump(dumpFlows, dumpGroups)
//	delta := ovsvxlan.Diff(have, want)
//	io.Copy(os.Stdout, delta.Bundle()) // for ovs-ofctl -O OpenFlow15 bundle cnm-int -
package ovsvxlan

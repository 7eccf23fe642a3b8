package ovsvxlan

import (
	"fmt"
)

// CompilePeer returns what makes an endpoint on another node reachable, and admits what it sends.
func CompilePeer(base Base, n Network, p Peer) (Program, error) {
	err := n.validateMember(p.Network, p.MAC, p.Addrs)
	if err == nil {
		err = validVTEP(p.VTEP)
	}
	if err != nil {
		return Program{}, fmt.Errorf("peer %s: %w", p.ID, err)
	}
	b := newBuilder(Object{Kind: KindPeer, Network: n.ID, ID: p.ID})
	for _, addr := range p.Addrs {
		// MAC and address are part of the proof: a node of the network cannot speak for an endpoint of a third, nor for
		// one of ours.
		b.add(TableTunnelAdmit, exact, ipProtocol(addr), match(vni(n.VNI), tunnelSrc(p.VTEP), ethSrc(p.MAC), ipSrc(addr)),
			resubmit(TableForward))
		b.answer(n, addr, p.MAC)
		b.route(n, addr, setEthDst(p.MAC))
	}
	// Only for endpoints: what comes from a tunnel or from the host never leaves by a tunnel.
	b.add(TableForward, exact, "", match(vni(n.VNI), source(fromEndpoint), ethDst(p.MAC)),
		append(toTunnel(n.VNI, p.VTEP), setOutput(base.TunnelPort), resubmit(TableOutput))...)
	return b.program()
}

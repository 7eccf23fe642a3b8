package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/digitalocean/go-openvswitch/ovs"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// linkLocal addresses may ask for neighbours and do nothing else. Which of them is not checked: an answer goes to
// nobody but the endpoint that asked.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// CompileEndpoint returns what makes a local endpoint reachable and keeps it to its own addresses.
func CompileEndpoint(base Base, n Network, e Endpoint) (Program, error) {
	if err := e.validate(base, n); err != nil {
		return Program{}, fmt.Errorf("endpoint %s: %w", e.ID, err)
	}
	b := newBuilder(Object{Kind: KindEndpoint, Network: n.ID, ID: e.ID})
	b.add(TableClassify, exact, "", match(inPort(e.Port)),
		setVNI(n.VNI), setSource(fromEndpoint), resubmit(TableEndpointGuard))
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		b.add(TableEndpointGuard, proven, ovs.ProtocolICMPv6, append(e.solicit(), ipSrcIn(linkLocal)), e.question()...)
	}
	for _, addr := range e.Addrs {
		b.speak(n, e, addr)
		b.ask(e, addr)
		b.answer(n, addr, e.MAC)
		b.silent(e, addr)
		b.route(n, addr, setEthSrc(n.GatewayMAC), setEthDst(e.MAC))
	}
	b.add(TableForward, exact, "", match(vni(n.VNI), ethDst(e.MAC)), setOutput(e.Port), resubmit(TableOutput))
	return b.program()
}

func (e Endpoint) validate(base Base, n Network) error {
	if err := n.validateMember(e.Network, e.MAC, e.Addrs); err != nil {
		return err
	}
	if e.Port == base.TunnelPort || e.Port == base.GatewayPort {
		return fmt.Errorf("port %d: it is the tunnel's or the gateway's: %w", e.Port, errdefs.ErrInvalid)
	}
	return validPort("endpoint", e.Port)
}

// speak lets the endpoint send packets from addr: to the gateway's MAC they are routed, to any other switched.
func (b *builder) speak(n Network, e Endpoint, addr netip.Addr) {
	protocol := ipProtocol(addr)
	b.add(TableEndpointGuard, special, protocol, match(inPort(e.Port), ethSrc(e.MAC), ethDst(n.GatewayMAC), ipSrc(addr)),
		resubmit(TableRoute))
	b.add(TableEndpointGuard, exact, protocol, match(inPort(e.Port), ethSrc(e.MAC), ipSrc(addr)),
		resubmit(TableForward))
}

// ask lets the endpoint ask for its neighbours under addr.
func (b *builder) ask(e Endpoint, addr netip.Addr) {
	if addr.Is4() {
		b.add(TableEndpointGuard, proven, ovs.ProtocolARP, match(inPort(e.Port), ethSrc(e.MAC),
			ovs.ARPSourceHardwareAddress(e.MAC[:]), ovs.ARPSourceProtocolAddress(addr.String())), e.question()...)
		return
	}
	b.add(TableEndpointGuard, proven, ovs.ProtocolICMPv6, append(e.solicit(), ipSrc(addr)), e.question()...)
}

// solicit matches a neighbor solicitation that is the endpoint's own as far as its MAC goes.
func (e Endpoint) solicit() []ovs.Match {
	return ndSolicit(inPort(e.Port), ethSrc(e.MAC), ovs.NeighborDiscoverySourceLinkLayer(e.MAC[:]))
}

func (Endpoint) question() []ovs.Action { return []ovs.Action{backToSender(), resubmit(TableNeighbor)} }

// silent leaves the endpoint without an answer when it asks for addr itself: to announce it, or to see whether it is
// taken.
func (b *builder) silent(e Endpoint, addr netip.Addr) {
	if addr.Is4() {
		b.add(TableNeighbor, special, ovs.ProtocolARP,
			match(inPort(e.Port), arpTarget(addr.String())), ovs.Drop())
		return
	}
	b.add(TableNeighbor, special, ovs.ProtocolICMPv6,
		ndSolicit(inPort(e.Port), ndTarget(addr.String())), ovs.Drop())
}

// route brings packets that went to the gateway's MAC to addr's owner in another subnet, or in this one. A local owner
// gets them from the gateway's MAC, a peer from the sender's: other nodes admit no frame of a gateway.
func (b *builder) route(n Network, addr netip.Addr, actions ...ovs.Action) {
	b.add(TableRoute, exact, ipProtocol(addr), match(vni(n.VNI), ipDst(addr)), append(actions, ovs.DecTTL(), resubmit(TableForward))...)
}

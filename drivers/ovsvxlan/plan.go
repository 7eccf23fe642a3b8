package ovsvxlan

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/ovsvxlan"
)

const (
	minMTU  = 68   // RFC 791
	minMTU6 = 1280 // RFC 8200, section 5
	maxMTU  = 65535

	// What VXLAN adds to a packet: the inner Ethernet header 14, VXLAN 8, UDP 8, and the outer IP header.
	overhead4 = 14 + 8 + 8 + 20
	overhead6 = 14 + 8 + 8 + 40
)

// network is what a drivers.Network comes to on this node. It is not changed once made.
type network struct {
	drivers.Network
	mtu int // bytes
}

// validate is pure: it reads only n.
func validate(n drivers.Network) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("network %s: %s: %w", n.ID, fmt.Sprintf(format, args...), drivers.ErrInvalid)
	}
	if _, err := drivers.DecodeOptions[Options](n.Options); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	least, gateway := minMTU, false
	for _, s := range n.Subnets {
		gateway = gateway || s.Gateway.IsValid()
		if s.Prefix.Addr().Is6() {
			least = minMTU6
		}
	}
	if n.MTU != 0 && (n.MTU < least || n.MTU > maxMTU) {
		return invalid("MTU %d is outside %d..%d", n.MTU, least, maxMTU)
	}
	if err := toNetwork(n).Validate(ovsvxlan.Base{}); err != nil {
		return err
	}
	if !gateway && !n.Internal {
		return invalid("no subnet has a gateway, so nothing could leave it: give it one, or make it internal")
	}
	return nil
}

// plan fits n to this node.
func (d *Driver) plan(n drivers.Network, fits int) (network, error) {
	if err := validate(n); err != nil {
		return network{}, err
	}
	if n.MTU > fits {
		return network{}, fmt.Errorf("network %s: MTU %d is above %d, which is what fits into a tunnel from %s: %w",
			n.ID, n.MTU, fits, d.cfg.VTEP, drivers.ErrInvalid)
	}
	n.Subnets = slices.Clone(n.Subnets)
	nw := network{n, n.MTU}
	if nw.mtu == 0 {
		nw.mtu = fits
	}
	return nw, nil
}

// inner is what fits into a tunnel over an underlay.
func inner(underlay int, vtep netip.Addr) int {
	if vtep.Is6() {
		return underlay - overhead6
	}
	return underlay - overhead4
}

func toNetwork(n drivers.Network) ovsvxlan.Network {
	out := ovsvxlan.Network{
		ID: string(n.ID), VNI: n.VNI, Internal: n.Internal, GatewayMAC: gatewayMAC(n.ID),
		Subnets: make([]ovsvxlan.Subnet, len(n.Subnets)),
	}
	for i, s := range n.Subnets {
		out.Subnets[i] = ovsvxlan.Subnet(s)
	}
	return out
}

// gatewayMAC is a locally administered unicast address, the same for a network on every node and for ever.
func gatewayMAC(id drivers.NetworkID) ovsvxlan.MAC {
	sum := sha256.Sum256([]byte("gateway " + id))
	mac := ovsvxlan.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

func toEndpoint(ep drivers.Endpoint) ovsvxlan.LocalEndpoint {
	e := ovsvxlan.LocalEndpoint{
		Endpoint: ovsvxlan.Endpoint{
			ID: string(ep.ID), Network: string(ep.Network), MAC: ovsvxlan.MAC(ep.MAC), Generation: ep.Generation,
		},
		Interface: vethName(ep.Network, ep.ID),
	}
	for _, p := range ep.Addrs {
		e.Addrs = append(e.Addrs, p.Addr())
	}
	return e
}

func toPeers(n drivers.NetworkID, peers []drivers.Peer) []ovsvxlan.Peer {
	out := make([]ovsvxlan.Peer, len(peers))
	for i, p := range peers {
		out[i] = ovsvxlan.Peer{
			ID: string(p.Endpoint), Network: string(n), MAC: ovsvxlan.MAC(p.MAC), Addrs: slices.Clone(p.Addrs),
			VTEP: p.VTEP, Generation: p.Generation,
		}
	}
	return out
}

func toMembers(members []drivers.Member) []netip.Addr {
	out := make([]netip.Addr, len(members))
	for i, m := range members {
		out[i] = m.VTEP
	}
	return out
}

// validateEndpoint is pure.
func (nw network) validateEndpoint(ep drivers.Endpoint) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("endpoint %s: %s: %w", ep.ID, fmt.Sprintf(format, args...), drivers.ErrInvalid)
	}
	if ep.ID == "" || ep.MAC.IsZero() {
		return invalid("no ID or no MAC address")
	}
	if err := link.CheckName(ep.Interface); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	for _, p := range ep.Addrs {
		within := func(s drivers.Subnet) bool { return s.Prefix.Contains(p.Addr()) && s.Prefix.Bits() == p.Bits() }
		if !slices.ContainsFunc(nw.Subnets, within) {
			return invalid("address %s is in no subnet of network %s", p, nw.ID)
		}
	}
	return nil
}

// attachment gives an endpoint the gateways of its own subnets, and the network's other subnets as neighbours: all of
// them are one segment.
func (nw network) attachment(ep drivers.Endpoint) drivers.Attachment {
	a := drivers.Attachment{Interface: ep.Interface, MTU: nw.mtu}
	for _, is4 := range []bool{true, false} {
		var (
			gateway    netip.Addr
			member     bool
			neighbours []drivers.Route
		)
		for _, s := range nw.Subnets {
			if s.Prefix.Addr().Is4() != is4 {
				continue
			}
			if !slices.ContainsFunc(ep.Addrs, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) }) {
				neighbours = append(neighbours, drivers.Route{Dst: s.Prefix})
				continue
			}
			member = true
			if !gateway.IsValid() {
				gateway = s.Gateway
			}
		}
		if gateway.IsValid() && !nw.Internal {
			a.Gateways = append(a.Gateways, gateway)
		}
		if member {
			a.Routes = append(a.Routes, neighbours...)
		}
	}
	return a
}

func (d *Driver) veth(nw network, ep drivers.Endpoint, ns *link.NS) link.Veth {
	v := link.Veth{
		Name: vethName(ep.Network, ep.ID), Alias: endpointMark(ep.Network, ep.ID), MTU: nw.mtu,
		DisableIPv6: true, // a port of the bridge has no business of its own with IP
		Peer:        link.VethPeer{Name: ep.Interface, NS: ns, MAC: ep.MAC.HardwareAddr()},
	}
	if d.usesNetdev() {
		drain(&v)
	}
	return v
}

func vethName(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.HashName("cnmv", 11, string(n), string(ep))
}

func endpointMark(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.Owner{Driver: Name, Network: string(n), Endpoint: string(ep)}.String()
}

func nodeMark(role string) string { return link.Owner{Driver: Name, Role: role}.String() }

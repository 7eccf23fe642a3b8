package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/ovsvxlan"
)

const (
	// What VXLAN adds to a packet: the inner Ethernet header 14, VXLAN 8, UDP 8, and the outer IP header.
	overhead4 = 14 + 8 + 8 + 20
	overhead6 = 14 + 8 + 8 + 40
)

// network is what a drivers.Network comes to on this node. It is not changed once made.
type network struct {
	drivers.Network     // without options
	mtu             int // bytes
}

// validate is pure: it reads only n.
func validate(n drivers.Network) error {
	if err := info().Validate(n); err != nil {
		return err
	}
	if _, err := drivers.DecodeOptions[Options](n.Options); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	if err := toNetwork(n).Validate(ovsvxlan.Base{}); err != nil {
		return err
	}
	if !n.Internal && !slices.ContainsFunc(n.Subnets, func(s drivers.Subnet) bool { return s.Gateway.IsValid() }) {
		return fmt.Errorf("network %s: no subnet has a gateway, so nothing could leave it: give it one, or make it internal: %w",
			n.ID, drivers.ErrInvalid)
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
	n.Subnets, n.Options = slices.Clone(n.Subnets), nil
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
		ID: string(n.ID), VNI: n.VNI, Internal: n.Internal, GatewayMAC: ovsvxlan.MAC(veths.MAC("gateway", n.ID)),
		Subnets: make([]ovsvxlan.Subnet, len(n.Subnets)),
	}
	for i, s := range n.Subnets {
		out.Subnets[i] = ovsvxlan.Subnet(s)
	}
	return out
}

func toEndpoint(ep drivers.Endpoint) ovsvxlan.LocalEndpoint {
	e := ovsvxlan.LocalEndpoint{
		Endpoint: ovsvxlan.Endpoint{
			ID: string(ep.ID), Network: string(ep.Network), MAC: ovsvxlan.MAC(ep.MAC), Generation: ep.Generation,
		},
		Interface: veths.Name(ep.Network, ep.ID),
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

func (d *Driver) port(nw network, ep drivers.Endpoint) veths.Port {
	p := veths.Port{Network: nw.Network, Endpoint: ep, Link: link.Veth{MTU: nw.mtu}}
	if d.usesNetdev() {
		drain(&p.Link)
		// See Settle: what the device changes after its port has come disturbs every tunnel once more.
		p.Link.Peer.Up, p.Link.Promiscuous = true, true
	}
	return p
}

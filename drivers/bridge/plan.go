package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
)

const (
	defaultMTU = 1500 // Ethernet's
	minMTU     = 68   // RFC 791
	minMTU6    = 1280 // RFC 8200, section 5
	maxMTU     = 65535
)

// network is what a drivers.Network comes to on this host. It is not changed once made.
type network struct {
	id       drivers.NetworkID
	subnets  []drivers.Subnet
	internal bool
	bridge   link.Bridge
	rules    iptables.Network
}

// plan works out n. It changes nothing.
func (d *Driver) plan(ctx context.Context, n drivers.Network) (network, error) {
	if err := validate(n); err != nil {
		return network{}, err
	}
	mtu := n.MTU
	if mtu == 0 {
		var err error
		if mtu, err = d.hostMTU(ctx); err != nil {
			return network{}, fmt.Errorf("network %s: %w", n.ID, err)
		}
	}
	return newNetwork(n, mtu)
}

// hostMTU is what leaves this host whole.
func (d *Driver) hostMTU(ctx context.Context) (int, error) {
	_, mtu, err := d.host.DefaultRouteAddr(ctx)
	if errors.Is(err, drivers.ErrNotFound) {
		return defaultMTU, nil
	}
	return mtu, err
}

// newNetwork is pure. n is valid.
func newNetwork(n drivers.Network, mtu int) (network, error) {
	rules, err := rulesOf(n)
	if err != nil {
		return network{}, err
	}
	nw := network{
		id: n.ID, subnets: slices.Clone(n.Subnets), internal: n.Internal, rules: rules,
		bridge: link.Bridge{Name: rules.Interface, Alias: networkMark(n.ID), MAC: bridgeMAC(n.ID), MTU: mtu},
	}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			nw.bridge.Addrs = append(nw.bridge.Addrs, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
	}
	return nw, nil
}

func rulesOf(n drivers.Network) (iptables.Network, error) {
	options, err := drivers.DecodeOptions[Options](n.Options)
	if err != nil {
		return iptables.Network{}, err
	}
	rules := iptables.Network{
		ID: string(n.ID), Interface: bridgeName(n.ID), Internal: n.Internal,
		Masquerade: !n.Internal && !options.DisableMasquerade,
	}
	for _, s := range n.Subnets {
		rules.Subnets = append(rules.Subnets, s.Prefix)
		if s.Gateway.IsValid() {
			rules.Gateways = append(rules.Gateways, s.Gateway)
		}
	}
	return rules, nil
}

func (nw network) veth(ep drivers.Endpoint, ns *link.NS) link.Veth {
	return link.Veth{
		Name: vethName(ep.Network, ep.ID), Alias: endpointMark(ep.Network, ep.ID),
		Master: nw.bridge.Name, MTU: nw.bridge.MTU,
		DisableIPv6: true, // a port of a bridge has no business of its own with IP
		Peer:        link.VethPeer{Name: ep.Interface, NS: ns, MAC: ep.MAC.HardwareAddr()},
	}
}

// attachment gives an endpoint the gateways of its own subnets, and the network's other subnets as neighbours: all of
// them are one segment.
func (nw network) attachment(ep drivers.Endpoint) drivers.Attachment {
	a := drivers.Attachment{Interface: ep.Interface, MTU: nw.bridge.MTU}
	for _, family4 := range []bool{true, false} {
		var member, gateway bool
		for _, s := range nw.subnets {
			own := slices.ContainsFunc(ep.Addrs, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) })
			if s.Prefix.Addr().Is4() != family4 || !own {
				continue
			}
			member = true
			if s.Gateway.IsValid() && !nw.internal && !gateway {
				a.Gateways = append(a.Gateways, s.Gateway)
				gateway = true
			}
		}
		if member {
			a.Routes = append(a.Routes, nw.neighbours(ep, family4)...)
		}
	}
	return a
}

// neighbours are routes to the subnets in which ep has no address.
func (nw network) neighbours(ep drivers.Endpoint, family4 bool) []drivers.Route {
	var routes []drivers.Route
	for _, s := range nw.subnets {
		own := slices.ContainsFunc(ep.Addrs, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) })
		if s.Prefix.Addr().Is4() == family4 && !own {
			routes = append(routes, drivers.Route{Dst: s.Prefix})
		}
	}
	return routes
}

func bridgeName(id drivers.NetworkID) string { return link.HashName("cnmb", 10, string(id)) }

func vethName(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.HashName("cnmv", 11, string(n), string(ep))
}

func networkMark(id drivers.NetworkID) string {
	return link.Owner{Driver: Name, Network: string(id)}.String()
}

func endpointMark(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.Owner{Driver: Name, Network: string(n), Endpoint: string(ep)}.String()
}

// bridgeMAC is a locally administered unicast address, the same for a network for ever.
func bridgeMAC(id drivers.NetworkID) net.HardwareAddr {
	sum := sha256.Sum256([]byte("bridge " + id))
	mac := sum[:6]
	mac[0] = mac[0]&^1 | 2
	return mac
}

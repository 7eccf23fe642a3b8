package ovsvxlan

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// The way out of every network: a veth pair with one end in the bridge and one on the host.
const (
	gatewayHost = "cnm-gw0"
	gatewayPort = "cnm-gw1"
)

var (
	gatewayHostMAC = ovsvxlan.MAC{0x0a, 'c', 'n', 'm', 0, 1}
	gatewayPortMAC = ovsvxlan.MAC{0x0a, 'c', 'n', 'm', 0, 2}
)

// gatewayID is the firewall's name for the gateway.
const gatewayID = "gateway"

// fits is the largest packet that goes through a tunnel whole.
func (d *Driver) fits(ctx context.Context) (int, error) {
	underlay := d.cfg.UnderlayMTU
	if underlay == 0 {
		var err error
		if underlay, err = d.host.MTUOf(ctx, d.cfg.VTEP); err != nil {
			return 0, fmt.Errorf("MTU of the underlay: %w", err)
		}
	}
	return inner(underlay, d.cfg.VTEP), nil
}

// enter registers a network and makes what all networks share. From then on that is not removed by another's leave.
func (d *Driver) enter(ctx context.Context, nw network, fits int) error {
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	d.mu.Lock()
	d.networks[nw.ID] = nw
	d.mu.Unlock()
	return d.ensureNode(ctx, fits)
}

// settle adjusts what depends on what the engine has chosen: the transit addresses, and the datapath if it is not the
// one guessed when the links were made.
func (d *Driver) settle(ctx context.Context, fits int, guess bool) error {
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if d.usesNetdev() != guess {
		if err := d.ensureLinks(ctx, fits); err != nil {
			return err
		}
	}
	return d.host.SetRoutes(ctx, d.routes(fits), nil)
}

// leave forgets a network, and with the last one removes what all of them shared.
func (d *Driver) leave(ctx context.Context, id drivers.NetworkID) error {
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	d.mu.Lock()
	_, known := d.networks[id]
	delete(d.networks, id)
	delete(d.reported, id)
	last := len(d.networks) == 0
	d.mu.Unlock()
	if last {
		return d.removeNode(ctx)
	}
	if !known {
		return nil
	}
	fits, err := d.fits(ctx)
	if err != nil {
		return err
	}
	return d.host.SetRoutes(ctx, d.routes(fits), nil)
}

// ensureNode makes what all networks share, the firewall before the links it is about.
func (d *Driver) ensureNode(ctx context.Context, fits int) error {
	if err := d.cfg.Firewall.Sync(ctx, d.rules()); err != nil {
		return err
	}
	if err := d.host.Fence(ctx, ownFence, fences()); err != nil {
		return err
	}
	if err := d.ensureLinks(ctx, fits); err != nil {
		return err
	}
	d.mu.Lock()
	networks := make([]drivers.Network, 0, len(d.networks))
	for _, nw := range d.networks {
		networks = append(networks, nw.Network)
	}
	d.mu.Unlock()
	return d.host.Forward(ctx, networks...)
}

func (d *Driver) ensureLinks(ctx context.Context, fits int) error {
	if d.usesNetdev() {
		if err := d.host.EnsureBridge(ctx, d.sink()); err != nil {
			return err
		}
	}
	if err := d.host.EnsureVeth(ctx, d.gateway(fits)); err != nil {
		return err
	}
	return d.host.Configure(ctx, d.gatewayInterface(fits))
}

// removeNode removes what all networks share: the links before the firewall that is about them.
func (d *Driver) removeNode(ctx context.Context) error {
	if err := d.removeLinks(ctx, func(link.Owner) bool { return true }); err != nil {
		return err
	}
	if err := d.host.Fence(ctx, ownFence, nil); err != nil {
		return err
	}
	return d.cfg.Firewall.Sync(ctx, emptyRules())
}

// fences keep what leaves an overlay network by the gateway out of the host's other networks, when the firewall does not.
func fences() []link.Fence {
	var list []link.Fence
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		list = append(list, link.Fence{Dev: gatewayHost, Dst: netip.PrefixFrom(a, 0)})
	}
	return list
}

func ownFence(f link.Fence) bool { return f.Dev == gatewayHost }

func (d *Driver) gateway(fits int) link.Veth {
	v := link.Veth{
		Name: gatewayPort, Alias: d.host.NodeMark("gateway"), MTU: fits, DisableIPv6: true,
		Peer: link.VethPeer{Name: gatewayHost, MAC: gatewayHostMAC[:]},
	}
	if d.usesNetdev() {
		drain(&v)
	}
	return v
}

func (d *Driver) gatewayInterface(fits int) link.Interface {
	return link.Interface{Name: gatewayHost, MTU: fits, Up: true, Addrs: d.gatewayAddrs()}
}

func (d *Driver) gatewayAddrs() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(ovsvxlan.HostAddr(d.cfg.Transit4), d.cfg.Transit4.Bits()),
		netip.PrefixFrom(ovsvxlan.HostAddr(d.cfg.Transit6), d.cfg.Transit6.Bits()),
	}
}

// rules are the driver's part of the firewall: the same whatever the networks, as long as there are any.
func (d *Driver) rules() iptables.Spec {
	return iptables.Spec{
		Owner:       Name,
		TunnelPorts: []uint16{d.cfg.TunnelUDPPort},
		Networks: []iptables.Network{{
			ID: gatewayID, Interface: gatewayHost, Transit: true, Masquerade: true,
			Subnets:  []netip.Prefix{d.cfg.Transit4, d.cfg.Transit6},
			Gateways: []netip.Addr{ovsvxlan.HostAddr(d.cfg.Transit4), ovsvxlan.HostAddr(d.cfg.Transit6)},
		}},
	}
}

// routes tell the host which networks take smaller packets than the others.
func (d *Driver) routes(fits int) []link.Route {
	d.mu.Lock()
	networks, engine := maps.Clone(d.networks), d.engine
	d.mu.Unlock()
	var routes []link.Route
	for id, nw := range networks {
		if nw.mtu == fits || engine == nil {
			continue
		}
		for _, a := range engine.Transit(string(id)) {
			routes = append(routes, link.Route{Dst: netip.PrefixFrom(a, a.BitLen()), Dev: gatewayHost, MTU: nw.mtu})
		}
	}
	return routes
}

// removeLinks removes the driver's links that match.
func (d *Driver) removeLinks(ctx context.Context, match func(link.Owner) bool) error {
	links, err := d.host.Links(ctx)
	if err != nil {
		return err
	}
	return d.host.Delete(ctx, slices.DeleteFunc(links, func(l link.Link) bool {
		o, _ := link.ParseOwner(l.Alias)
		return !match(o)
	}))
}

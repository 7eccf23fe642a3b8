package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
)

const (
	defaultMTU   = 1500 // Ethernet's
	bridgePrefix = "cnmb"
)

// network is what a drivers.Network comes to on this host. It is not changed once made.
type network struct {
	drivers.Network // without options
	bridge          link.Bridge
	rules           iptables.Network
}

// validate is pure: it reads only n.
func validate(n drivers.Network) error {
	if err := info().Validate(n); err != nil {
		return err
	}
	invalid := func(why string) error { return fmt.Errorf("network %s: %s: %w", n.ID, why, drivers.ErrInvalid) }
	if len(n.Subnets) == 0 {
		return invalid("no subnet")
	}
	if !n.Internal && !slices.ContainsFunc(n.Subnets, func(s drivers.Subnet) bool { return s.Gateway.IsValid() }) {
		return invalid("no subnet has a gateway, so nothing could leave it: give it one, or make it internal")
	}
	rules, err := rulesOf(n)
	if err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	return rules.Validate()
}

// plan works out n. It changes nothing.
func (d *Driver) plan(ctx context.Context, n drivers.Network) (network, error) {
	if err := validate(n); err != nil {
		return network{}, err
	}
	rules, err := rulesOf(n)
	if err != nil {
		return network{}, fmt.Errorf("network %s: %w", n.ID, err)
	}
	mtu := n.MTU
	if mtu == 0 {
		if mtu, err = d.hostMTU(ctx); err != nil {
			return network{}, fmt.Errorf("network %s: %w", n.ID, err)
		}
	}
	n.Subnets, n.Options = slices.Clone(n.Subnets), nil
	nw := network{Network: n, rules: rules, bridge: link.Bridge{
		Name: rules.Interface, Alias: d.host.NetworkMark(n.ID), MAC: veths.MAC("bridge", n.ID).HardwareAddr(), MTU: mtu,
	}}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			nw.bridge.Addrs = append(nw.bridge.Addrs, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
	}
	return nw, nil
}

// hostMTU is what leaves this host whole.
func (d *Driver) hostMTU(ctx context.Context) (int, error) {
	_, mtu, err := d.host.DefaultRouteAddr(ctx)
	if errors.Is(err, drivers.ErrNotFound) {
		return defaultMTU, nil
	}
	return mtu, err
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

func (nw network) port(ep drivers.Endpoint) veths.Port {
	return veths.Port{Network: nw.Network, Endpoint: ep, Link: link.Veth{Master: nw.bridge.Name, MTU: nw.bridge.MTU}}
}

func bridgeName(id drivers.NetworkID) string { return link.HashName(bridgePrefix, 10, string(id)) }

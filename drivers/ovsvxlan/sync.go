package ovsvxlan

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// Sync implements drivers.Driver. What goes wrong with one endpoint does not keep the others from being repaired.
func (d *Driver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	if len(want) == 0 {
		return d.syncNothing(ctx)
	}
	engine, err := d.open(ctx)
	if err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	fits, err := d.fits(ctx)
	if err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	networks, err := d.planAll(want, fits)
	if err != nil {
		return err
	}
	guess := d.usesNetdev()
	if err := d.syncNode(ctx, networks, fits); err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	// Links before the engine, which opens them, and strays first of all: a new link may need a stray's name.
	if err := d.host.DeleteStrays(ctx, d.wantedLinks(want)); err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	linksErr := d.host.EnsureAll(ctx, d.ports(networks, want))
	if err := engine.Sync(ctx, states(want)); err != nil {
		return errors.Join(linksErr, fmt.Errorf("driver %s: %w", Name, err))
	}
	if d.usesNetdev() != guess { // the engine found no kernel datapath: the links need the sink after all
		if err := d.syncNode(ctx, networks, fits); err != nil {
			return errors.Join(linksErr, fmt.Errorf("driver %s: %w", Name, err))
		}
		linksErr = d.host.EnsureAll(ctx, d.ports(networks, want))
	}
	if err := d.settle(ctx, fits, d.usesNetdev()); err != nil {
		return errors.Join(linksErr, fmt.Errorf("driver %s: %w", Name, err))
	}
	return linksErr
}

// syncNothing needs no Open vSwitch where there never was one.
func (d *Driver) syncNothing(ctx context.Context) error {
	engine, err := d.reach(ctx)
	if err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	if engine != nil {
		if err := engine.Sync(ctx, nil); err != nil {
			return fmt.Errorf("driver %s: %w", Name, err)
		}
	}
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	defer unlock()
	d.mu.Lock()
	clear(d.networks)
	clear(d.reported)
	d.mu.Unlock()
	if err := d.removeNode(ctx); err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	return nil
}

func (d *Driver) planAll(want []drivers.NetworkState, fits int) (map[drivers.NetworkID]network, error) {
	networks := make(map[drivers.NetworkID]network, len(want))
	for _, s := range want {
		nw, err := d.plan(s.Network, fits)
		if err != nil {
			return nil, err
		}
		networks[nw.ID] = nw
	}
	return networks, nil
}

func (d *Driver) syncNode(ctx context.Context, networks map[drivers.NetworkID]network, fits int) error {
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	d.mu.Lock()
	d.networks = networks
	d.mu.Unlock()
	return d.ensureNode(ctx, fits)
}

func (d *Driver) ports(networks map[drivers.NetworkID]network, want []drivers.NetworkState) []veths.Port {
	var all []veths.Port
	for _, s := range want {
		for _, ep := range s.Endpoints {
			all = append(all, d.port(networks[s.Network.ID], ep))
		}
	}
	return all
}

// wantedLinks are the aliases of the driver's links by name.
func (d *Driver) wantedLinks(want []drivers.NetworkState) map[string]string {
	links := map[string]string{}
	if len(want) > 0 {
		links[gatewayPort] = d.host.NodeMark("gateway")
		if d.usesNetdev() {
			links[sinkName] = d.sink().Alias
		}
	}
	for _, s := range want {
		for _, ep := range s.Endpoints {
			links[veths.Name(s.Network.ID, ep.ID)] = d.host.EndpointMark(s.Network.ID, ep.ID)
		}
	}
	return links
}

func states(want []drivers.NetworkState) []ovsvxlan.State {
	out := make([]ovsvxlan.State, len(want))
	for i, s := range want {
		out[i] = ovsvxlan.State{
			Network: toNetwork(s.Network), Peers: toPeers(s.Network.ID, s.Peers), Members: toMembers(s.Members),
		}
		for _, ep := range s.Endpoints {
			out[i].Endpoints = append(out[i].Endpoints, toEndpoint(ep))
		}
	}
	return out
}

// emptyRules is the firewall of a node without networks.
func emptyRules() iptables.Spec { return iptables.Spec{Owner: Name} }

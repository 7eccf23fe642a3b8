package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// Sync implements drivers.Driver. What goes wrong with one endpoint does not keep the others from being repaired.
func (d *Driver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.ready(ctx); err != nil {
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
	// Links before the engine, which opens them, and orphans first of all: a new link may need an orphan's name.
	orphans, err := d.orphans(ctx, want)
	if err == nil {
		err = d.deleteLinks(ctx, orphans)
	}
	if err != nil {
		return fmt.Errorf("driver %s: %w", Name, err)
	}
	linksErr := d.syncVeths(ctx, networks, want)
	if err := engine.Sync(ctx, states(want)); err != nil {
		return errors.Join(linksErr, fmt.Errorf("driver %s: %w", Name, err))
	}
	if d.usesNetdev() != guess { // the engine found no kernel datapath: the links need the sink after all
		if err := d.syncNode(ctx, networks, fits); err != nil {
			return errors.Join(linksErr, fmt.Errorf("driver %s: %w", Name, err))
		}
		linksErr = d.syncVeths(ctx, networks, want)
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

func (d *Driver) syncVeths(ctx context.Context, networks map[drivers.NetworkID]network, want []drivers.NetworkState) error {
	var all []drivers.Endpoint
	for _, s := range want {
		all = append(all, s.Endpoints...)
	}
	ensure := func(ep drivers.Endpoint) error { return d.ensureVeth(ctx, networks[ep.Network], ep) }
	err := each(all, ensure)
	if errors.Is(err, drivers.ErrConflict) {
		err = each(all, ensure) // one may have had to wait for another to give up its name
	}
	return err
}

// orphans are the driver's links that are not wanted.
func (d *Driver) orphans(ctx context.Context, want []drivers.NetworkState) ([]link.Link, error) {
	keep := map[string]bool{}
	if len(want) > 0 {
		keep = map[string]bool{sinkName: d.usesNetdev(), gatewayHost: true, gatewayPort: true}
	}
	for _, s := range want {
		for _, ep := range s.Endpoints {
			keep[vethName(ep.Network, ep.ID)] = true
		}
	}
	owned, err := d.host.Owned(ctx, link.DriverMark(Name))
	return slices.DeleteFunc(owned, func(l link.Link) bool { return keep[l.Name] }), err
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

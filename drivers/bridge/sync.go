package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
)

// wanted is a whole desired state, worked out.
type wanted struct {
	networks []network
	ports    []veths.Port
	links    map[string]string // aliases by name
	rules    iptables.Spec
	fences   []link.Fence
}

func (d *Driver) wanted(ctx context.Context, states []drivers.NetworkState) (wanted, error) {
	w := wanted{links: map[string]string{}, rules: iptables.Spec{Owner: Name}}
	for _, s := range states {
		nw, err := d.plan(ctx, s.Network)
		if err != nil {
			return wanted{}, err
		}
		w.networks = append(w.networks, nw)
		w.rules.Networks = append(w.rules.Networks, nw.rules)
		w.fences = append(w.fences, nw.fences()...)
		w.links[nw.bridge.Name] = nw.bridge.Alias
		for _, ep := range s.Endpoints {
			w.ports = append(w.ports, nw.port(ep))
			w.links[veths.Name(nw.ID, ep.ID)] = d.host.EndpointMark(nw.ID, ep.ID)
		}
	}
	return w, nil
}

// Sync implements drivers.Driver. What goes wrong with one endpoint or network does not keep the others from being
// repaired; all errors are joined.
func (d *Driver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	w, err := d.wanted(ctx, want)
	if err != nil {
		return err
	}
	// First of all the isolation: nothing new may come up without it.
	if err := d.firewall.Sync(ctx, w.rules); err != nil {
		return fmt.Errorf("driver bridge: %w", err)
	}
	if err := d.host.Fence(ctx, ownFence, w.fences); err != nil {
		return err
	}
	// Strays before the rest: a bridge nobody wants may hold a gateway address that is another's now.
	if err = d.host.DeleteStrays(ctx, w.links); err != nil {
		err = fmt.Errorf("driver bridge: %w", err)
	}
	err = errors.Join(err, veths.Each(w.networks, func(nw network) error {
		if err := d.ensureBridge(ctx, nw); err != nil {
			return err
		}
		d.remember(nw)
		return nil
	}))
	if err = errors.Join(err, d.host.EnsureAll(ctx, w.ports)); err != nil {
		return err
	}
	d.forget(w)
	return nil
}

// forget drops the networks that are not in w.
func (d *Driver) forget(w wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.networks, func(id drivers.NetworkID, nw network) bool {
		_, ok := w.links[nw.bridge.Name]
		return !ok
	})
}

// removeLinks removes a network's bridge and endpoints, also those whose making was cut short.
func (d *Driver) removeLinks(ctx context.Context, id drivers.NetworkID) error {
	owned, err := d.host.Links(ctx)
	if err != nil {
		return err
	}
	index := -1
	for _, l := range owned {
		if l.Name == bridgeName(id) {
			index = l.Index
		}
	}
	return d.host.Delete(ctx, slices.DeleteFunc(owned, func(l link.Link) bool {
		o, marked := link.ParseOwner(l.Alias)
		return marked && o.Network != string(id) || !marked && l.Index != index && l.Master != index
	}))
}

package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
)

// parallel bounds the links that are worked on at once. Most of the time of each is spent waiting in the kernel.
const parallel = 8

// wanted is a whole desired state, worked out.
type wanted struct {
	networks  []network
	endpoints []joined
	marks     map[string]string // link name -> alias
	rules     iptables.Spec
}

// joined is an endpoint with its network.
type joined struct {
	network network
	drivers.Endpoint
}

func (d *Driver) wanted(ctx context.Context, states []drivers.NetworkState) (wanted, error) {
	w := wanted{marks: map[string]string{}, rules: iptables.Spec{Owner: Name}}
	for _, s := range states {
		nw, err := d.plan(ctx, s.Network)
		if err != nil {
			return wanted{}, err
		}
		w.networks = append(w.networks, nw)
		w.rules.Networks = append(w.rules.Networks, nw.rules)
		w.marks[nw.bridge.Name] = nw.bridge.Alias
		for _, ep := range s.Endpoints {
			w.endpoints = append(w.endpoints, joined{nw, ep})
			w.marks[vethName(ep.Network, ep.ID)] = endpointMark(ep.Network, ep.ID)
		}
	}
	return w, nil
}

// Sync implements drivers.Driver. What goes wrong with one endpoint or network does not keep the others from being
// repaired; all errors are joined.
func (d *Driver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.ready(ctx); err != nil {
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
	owned, err := d.host.Owned(ctx, link.DriverMark(Name))
	if err != nil {
		return fmt.Errorf("driver bridge: %w", err)
	}
	// Orphans before the rest: an orphaned bridge may hold a gateway address that is another's now.
	err = d.deleteAll(ctx, w.orphans(owned))
	err = errors.Join(err, each(w.networks, func(nw network) error {
		if err := d.ensureBridge(ctx, nw); err != nil {
			return err
		}
		d.remember(nw)
		return nil
	}))
	if err = errors.Join(err, d.ensureEndpoints(ctx, w.endpoints)); err != nil {
		return err
	}
	d.forget(w)
	return nil
}

// ensureEndpoints makes two attempts: endpoints may have changed places, and then one's interface stands where another's
// belongs. The first attempt takes away everything that is in a wrong place, even where it cannot put anything yet.
func (d *Driver) ensureEndpoints(ctx context.Context, endpoints []joined) error {
	var mu sync.Mutex // guards blocked
	var blocked []joined
	err := each(endpoints, func(j joined) error {
		err := d.ensureEndpoint(ctx, j.network, j.Endpoint)
		if errors.Is(err, drivers.ErrConflict) {
			mu.Lock()
			defer mu.Unlock()
			blocked = append(blocked, j)
			return nil
		}
		return err
	})
	return errors.Join(err, each(blocked, func(j joined) error { return d.ensureEndpoint(ctx, j.network, j.Endpoint) }))
}

// orphans are the driver's links that are not wanted, or are not what is wanted by their name.
func (w wanted) orphans(owned []link.Link) []link.Link {
	var out []link.Link
	for _, l := range owned {
		if alias, ok := w.marks[l.Name]; !ok || l.Alias != "" && l.Alias != alias {
			out = append(out, l)
		}
	}
	return out
}

// forget drops the networks that are not in w.
func (d *Driver) forget(w wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.networks, func(id drivers.NetworkID, nw network) bool {
		_, ok := w.marks[nw.bridge.Name]
		return !ok
	})
}

// removeLinks removes a network's bridge and endpoints, also those whose making was cut short.
func (d *Driver) removeLinks(ctx context.Context, id drivers.NetworkID) error {
	owned, err := d.host.Owned(ctx, link.DriverMark(Name))
	if err != nil {
		return err
	}
	index := -1
	for _, l := range owned {
		if l.Name == bridgeName(id) {
			index = l.Index
		}
	}
	var gone []link.Link
	for _, l := range owned {
		o, marked := link.ParseOwner(l.Alias)
		if marked && o.Network == string(id) || !marked && (l.Index == index || l.Master == index) {
			gone = append(gone, l)
		}
	}
	return d.deleteAll(ctx, gone)
}

// deleteAll deletes links that Owned returned.
func (d *Driver) deleteAll(ctx context.Context, links []link.Link) error {
	return each(links, func(l link.Link) error {
		mark := l.Alias
		if mark == "" {
			mark = link.DriverMark(Name) // it did not get as far as an alias
		}
		return d.host.DeleteLink(ctx, l.Name, mark)
	})
}

// each calls fn for all items, several at a time, and joins the errors.
func each[T any](items []T, fn func(T) error) error {
	errs := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() error {
			errs[i] = fn(item)
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}

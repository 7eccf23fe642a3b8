package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Check implements drivers.Driver.
func (d *Driver) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	w, err := d.wanted(ctx, want)
	if err != nil {
		return nil, err
	}
	var drift []drivers.Drift
	for _, nw := range w.networks {
		found, err := d.host.CheckBridge(ctx, nw.bridge)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", nw.id, err)
		}
		drift = append(drift, drifts(drivers.Drift{Network: nw.id}, found)...)
	}
	for _, j := range w.endpoints {
		found, err := d.checkEndpoint(ctx, j)
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", j.ID, err)
		}
		drift = append(drift, drifts(drivers.Drift{Network: j.Network, Endpoint: j.ID}, found)...)
	}
	owned, err := d.host.Owned(ctx, link.DriverMark(Name))
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	for _, l := range w.orphans(owned) {
		o, _ := link.ParseOwner(l.Alias) // without an alias the drift is of no network
		drift = append(drift, drivers.Drift{
			Driver: Name, Network: drivers.NetworkID(o.Network), Endpoint: drivers.EndpointID(o.Endpoint),
			Object: "link " + l.Name, Have: fmt.Sprintf("%s with alias %q", l.Kind, l.Alias),
		})
	}
	forwarding, err := d.checkForwarding(ctx, w.networks)
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	rules, err := d.firewall.Check(ctx, w.rules)
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	drift = append(drift, forwarding...)
	for _, r := range rules {
		// Rules that serve several owners' networks carry no owner; they are ours to report as well.
		if r.Owner == "" || r.Owner == Name {
			drift = append(drift, drivers.Drift{
				Driver: Name, Network: drivers.NetworkID(r.Network), Object: r.Object, Want: r.Want, Have: r.Have,
			})
		}
	}
	return drift, nil
}

func (d *Driver) checkEndpoint(ctx context.Context, j joined) ([]link.Difference, error) {
	ns, err := link.OpenNS(j.NetNS)
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrInvalid) {
		return []link.Difference{{Object: "network namespace " + j.NetNS, Want: "present"}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return d.host.CheckVeth(ctx, j.network.veth(j.Endpoint, ns))
}

// drifts puts differences into words of the driver contract, each of what of says.
func drifts(of drivers.Drift, found []link.Difference) []drivers.Drift {
	out := make([]drivers.Drift, len(found))
	for i, f := range found {
		out[i] = of
		out[i].Driver, out[i].Object, out[i].Want, out[i].Have = Name, f.Object, f.Want, f.Have
	}
	return out
}

package bridge

import (
	"context"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// Check implements drivers.Driver.
func (d *Driver) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return nil, err
	}
	w, err := d.wanted(ctx, want)
	if err != nil {
		return nil, err
	}
	listed, err := d.host.List(ctx)
	if err != nil {
		return nil, err
	}
	drift := d.host.Strays(listed, w.links)
	networks := make([]drivers.Network, len(w.networks))
	for i, nw := range w.networks {
		networks[i] = nw.Network
		found, err := d.host.CheckBridge(ctx, nw.bridge)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", nw.ID, err)
		}
		drift = append(drift, d.host.Drifts(drivers.Drift{Network: nw.ID}, found)...)
	}
	for _, p := range w.ports {
		found, err := d.host.Check(ctx, p, listed)
		if err != nil {
			return nil, err
		}
		drift = append(drift, found...)
	}
	forwarding, err := d.host.CheckForwarding(ctx, networks)
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	fences, err := d.host.CheckFence(ctx, ownFence, w.fences)
	if err != nil {
		return nil, err
	}
	rules, err := d.firewall.Check(ctx, w.rules)
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	return slices.Concat(drift, forwarding, fences, d.host.RuleDrifts(rules)), nil
}

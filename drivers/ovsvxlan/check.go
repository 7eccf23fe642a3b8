package ovsvxlan

import (
	"context"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Check implements drivers.Driver.
func (d *Driver) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return nil, err
	}
	engine, err := d.reach(ctx)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", Name, err)
	}
	if engine == nil && len(want) > 0 {
		return []drivers.Drift{{Driver: Name, Object: "Open vSwitch", Want: "running", Have: ""}}, nil
	}
	var drift []drivers.Drift
	if engine != nil {
		found, err := engine.Check(ctx, states(want))
		if err != nil {
			return nil, fmt.Errorf("driver %s: %w", Name, err)
		}
		for _, f := range found {
			drift = append(drift, drivers.Drift{Driver: Name, Object: f.Object, Want: f.Want, Have: f.Have})
		}
	}
	listed, err := d.host.List(ctx)
	if err != nil {
		return nil, err
	}
	node, err := d.checkNode(ctx, want, listed)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", Name, err)
	}
	return slices.Concat(drift, node, d.host.Strays(listed, d.wantedLinks(want))), nil
}

// checkNode looks at what all networks share, and at the endpoints' links.
func (d *Driver) checkNode(ctx context.Context, want []drivers.NetworkState, listed []link.Link) ([]drivers.Drift, error) {
	rules, wanted := emptyRules(), []link.Fence(nil)
	var drift []drivers.Drift
	if len(want) > 0 {
		rules, wanted = d.rules(), fences()
		fits, err := d.fits(ctx)
		if err != nil {
			return nil, err
		}
		if drift, err = d.checkLinks(ctx, fits); err != nil {
			return nil, err
		}
		found, err := d.checkNetworks(ctx, want, fits, listed)
		if err != nil {
			return nil, err
		}
		drift = append(drift, found...)
	}
	fenced, err := d.host.CheckFence(ctx, ownFence, wanted)
	if err != nil {
		return nil, err
	}
	drift = append(drift, fenced...)
	found, err := d.cfg.Firewall.Check(ctx, rules)
	if err != nil {
		return nil, err
	}
	for _, f := range d.host.RuleDrifts(found) {
		f.Network = "" // the firewall's one network of this driver is that of all
		drift = append(drift, f)
	}
	return drift, nil
}

func (d *Driver) checkLinks(ctx context.Context, fits int) ([]drivers.Drift, error) {
	var found []link.Difference
	if d.usesNetdev() {
		more, err := d.host.CheckBridge(ctx, d.sink())
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	more, err := d.host.CheckVeth(ctx, d.gateway(fits))
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
	if more, err = d.host.CheckInterface(ctx, d.gatewayInterface(fits)); err != nil {
		return nil, err
	}
	return d.host.Drifts(drivers.Drift{}, append(found, more...)), nil
}

func (d *Driver) checkNetworks(
	ctx context.Context, want []drivers.NetworkState, fits int, listed []link.Link,
) ([]drivers.Drift, error) {
	var drift []drivers.Drift
	networks := make([]drivers.Network, len(want))
	for i, s := range want {
		nw, err := d.plan(s.Network, fits)
		if err != nil {
			return nil, err
		}
		networks[i] = nw.Network
		drift = append(drift, d.mismatches(nw, s.Members)...)
		for _, ep := range s.Endpoints {
			found, err := d.host.Check(ctx, d.port(nw, ep), listed)
			if err != nil {
				return nil, err
			}
			drift = append(drift, found...)
		}
	}
	forwarding, err := d.host.CheckForwarding(ctx, networks)
	return append(drift, forwarding...), err
}

// mismatches names the nodes whose tunnels carry less than the network's MTU, or could carry more.
func (d *Driver) mismatches(nw network, members []drivers.Member) []drivers.Drift {
	var drift []drivers.Drift
	for _, m := range members {
		theirs := inner(m.MTU, d.cfg.VTEP)
		if m.MTU == 0 || theirs == nw.mtu || nw.MTU != 0 && theirs > nw.mtu {
			continue
		}
		drift = append(drift, drivers.Drift{
			Driver: Name, Network: nw.ID, Object: "MTU of node " + m.Node, Want: fmt.Sprint(nw.mtu), Have: fmt.Sprint(theirs),
		})
	}
	return drift
}

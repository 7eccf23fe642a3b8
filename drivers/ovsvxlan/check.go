package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Check implements drivers.Driver.
func (d *Driver) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := d.ready(ctx); err != nil {
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
	node, err := d.checkNode(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", Name, err)
	}
	orphans, err := d.checkOrphans(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", Name, err)
	}
	return slices.Concat(drift, node, orphans), nil
}

// checkNode looks at what all networks share, and at the endpoints' links.
func (d *Driver) checkNode(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	rules := emptyRules()
	var drift []drivers.Drift
	if len(want) > 0 {
		rules = d.rules()
		fits, err := d.fits(ctx)
		if err != nil {
			return nil, err
		}
		if drift, err = d.checkLinks(ctx, fits); err != nil {
			return nil, err
		}
		for _, s := range want {
			nw, err := d.plan(s.Network, fits)
			if err != nil {
				return nil, err
			}
			found, err := d.checkNetwork(ctx, nw, s)
			if err != nil {
				return nil, err
			}
			drift = append(drift, found...)
		}
	}
	found, err := d.cfg.Firewall.Check(ctx, rules)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		// Rules that serve several owners carry no owner; they are ours to report as well.
		if f.Owner == "" || f.Owner == Name {
			drift = append(drift, drivers.Drift{Driver: Name, Object: f.Object, Want: f.Want, Have: f.Have})
		}
	}
	return drift, nil
}

func (d *Driver) checkLinks(ctx context.Context, fits int) ([]drivers.Drift, error) {
	var found []link.Difference
	if d.usesNetdev() {
		more, err := d.host.CheckBridge(ctx, sink())
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
	return drifts(drivers.Drift{}, append(found, more...)), nil
}

func (d *Driver) checkNetwork(ctx context.Context, nw network, s drivers.NetworkState) ([]drivers.Drift, error) {
	drift := d.mismatches(nw, s.Members)
	if !nw.Internal {
		for _, subnet := range nw.Subnets {
			key := "net.ipv6.conf.all.forwarding"
			if subnet.Prefix.Addr().Is4() {
				key = "net.ipv4.ip_forward"
			}
			have, err := d.host.Sysctl(ctx, key)
			if err != nil {
				return nil, err
			}
			if have != "1" {
				drift = append(drift, drivers.Drift{Driver: Name, Network: nw.ID, Object: "sysctl " + key, Want: "1", Have: have})
			}
		}
	}
	for _, ep := range s.Endpoints {
		found, err := d.checkVeth(ctx, nw, ep)
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", ep.ID, err)
		}
		drift = append(drift, drifts(drivers.Drift{Network: nw.ID, Endpoint: ep.ID}, found)...)
	}
	return drift, nil
}

func (d *Driver) checkVeth(ctx context.Context, nw network, ep drivers.Endpoint) ([]link.Difference, error) {
	ns, err := link.OpenNS(ep.NetNS)
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrInvalid) {
		return []link.Difference{{Object: "network namespace " + ep.NetNS, Want: "present"}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return d.host.CheckVeth(ctx, d.veth(nw, ep, ns))
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

// checkOrphans names the driver's links that are not wanted.
func (d *Driver) checkOrphans(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	owned, err := d.orphans(ctx, want)
	if err != nil {
		return nil, err
	}
	var drift []drivers.Drift
	for _, l := range owned {
		o, _ := link.ParseOwner(l.Alias) // without an alias the drift is of no network
		drift = append(drift, drivers.Drift{
			Driver: Name, Network: drivers.NetworkID(o.Network), Endpoint: drivers.EndpointID(o.Endpoint),
			Object: "link " + l.Name, Have: fmt.Sprintf("%s with alias %q", l.Kind, l.Alias),
		})
	}
	return drift, nil
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

package lan

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
)

// Sync deletes first, for what is not wanted may hold a name that is, and then applies everything: Apply leaves alone
// what is right. What cannot be made does not keep the rest from being made.
func (d *Driver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.sync(ctx, want); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (d *Driver) sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	wanted := marks(want)
	if err := deleteMatching(ctx, func(m mark, _ *netlink.LinkAttrs) bool { return !wanted[m] }); err != nil {
		return err
	}
	d.forgetAll()
	var errs []error
	for _, s := range want {
		if err := d.ApplyNetwork(ctx, s.Network); err != nil {
			errs = append(errs, err)
		}
	}
	// All ports that are to move give up their names before others take them.
	for _, s := range want {
		if err := deleteMisplaced(ctx, s); err != nil {
			errs = append(errs, err)
		}
	}
	for _, s := range want {
		for _, ep := range s.Endpoints {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if _, err := d.ApplyEndpoint(ctx, ep); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// marks is every mark that should be on the host.
func marks(want []drivers.NetworkState) map[mark]bool {
	out := map[mark]bool{}
	for _, s := range want {
		out[mark{network: s.Network.ID}] = true
		for _, ep := range s.Endpoints {
			out[mark{s.Network.ID, ep.ID}] = true
		}
	}
	return out
}

func deleteMisplaced(ctx context.Context, s drivers.NetworkState) error {
	n, err := read(s.Network)
	if err != nil {
		return err
	}
	for _, ep := range s.Endpoints {
		if err := ctx.Err(); err != nil {
			return err
		}
		l, differs, err := findPort(n, ep)
		if err != nil {
			return fmt.Errorf("endpoint %s: %w", ep.ID, err)
		}
		if l != nil && differs != "" {
			if err := remove(l); err != nil {
				return fmt.Errorf("endpoint %s: %w", ep.ID, err)
			}
		}
	}
	return nil
}

// Check names what Sync would change, and changes nothing.
func (d *Driver) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	drift, err := d.check(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return drift, nil
}

func (d *Driver) check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	list, err := links(ctx)
	if err != nil {
		return nil, err
	}
	var out []drivers.Drift
	wanted := marks(want)
	for _, l := range list {
		if m, ours := markOf(l); ours && !wanted[m] {
			out = append(out, d.drift(m, l.Attrs().Name, "", "present"))
		}
	}
	for _, s := range want {
		drift, err := d.checkNetwork(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", s.Network.ID, err)
		}
		out = append(out, drift...)
	}
	return out, nil
}

func (d *Driver) checkNetwork(ctx context.Context, s drivers.NetworkState) ([]drivers.Drift, error) {
	n, err := read(s.Network)
	if err != nil {
		return nil, err
	}
	var out []drivers.Drift
	differs, err := bridgeDiffers(n)
	if err != nil {
		return nil, err
	}
	if differs != "" {
		out = append(out, d.drift(mark{network: n.ID}, bridgeName(n.ID), "a bridge, up", differs))
	}
	for _, ep := range s.Endpoints {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, differs, err := findPort(n, ep)
		if errors.Is(err, drivers.ErrConflict) {
			differs, err = "somebody else's", nil
		}
		if err != nil {
			return nil, fmt.Errorf("endpoint %s: %w", ep.ID, err)
		}
		if differs != "" {
			out = append(out, d.drift(mark{n.ID, ep.ID}, portName(ep.ID), "a port with peer "+ep.Interface, differs))
		}
	}
	return out, nil
}

func (d *Driver) drift(m mark, name, want, have string) drivers.Drift {
	return drivers.Drift{
		Driver: d.Info().Name, Network: m.network, Endpoint: m.endpoint, Object: "link " + name, Want: want, Have: have,
	}
}

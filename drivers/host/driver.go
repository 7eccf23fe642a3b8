package host

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Name is the driver's name.
const Name = "host"

// Options has nothing to set.
type Options struct{}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }

// Driver implements drivers.Driver. The zero value is ready to use.
type Driver struct{ closed atomic.Bool }

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Singleton: true, HostNetNS: true}
}

// Validate implements drivers.Driver: such a network has neither addresses nor a link of its own.
func (d *Driver) Validate(n drivers.Network) error {
	switch {
	case len(n.Subnets) > 0:
		return fmt.Errorf("network %s: subnet %s: driver host has no addresses to give: %w", n.ID, n.Subnets[0].Prefix, drivers.ErrInvalid)
	case n.MTU != 0:
		return fmt.Errorf("network %s: MTU %d: driver host has no link to set it on: %w", n.ID, n.MTU, drivers.ErrInvalid)
	case n.VNI != 0:
		return fmt.Errorf("network %s: VNI %d: driver host has none: %w", n.ID, n.VNI, drivers.ErrInvalid)
	case n.Internal:
		return fmt.Errorf("network %s: internal: the host is not: %w", n.ID, drivers.ErrInvalid)
	}
	if _, err := drivers.DecodeOptions[Options](n.Options); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	return nil
}

// ApplyNetwork implements drivers.Driver.
func (d *Driver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	return d.Validate(n)
}

// RemoveNetwork implements drivers.Driver.
func (d *Driver) RemoveNetwork(ctx context.Context, _ drivers.NetworkID) error { return d.ready(ctx) }

// ApplyEndpoint implements drivers.Driver. The namespace must be the host's own, else ErrInvalid.
func (d *Driver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	if err := d.ready(ctx); err != nil {
		return drivers.Attachment{}, err
	}
	same, err := isHost(ep.NetNS)
	if err != nil {
		return drivers.Attachment{}, fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	if !same {
		return drivers.Attachment{}, fmt.Errorf("endpoint %s: namespace %s is not the host's: %w", ep.ID, ep.NetNS, drivers.ErrInvalid)
	}
	return drivers.Attachment{}, nil
}

func isHost(path string) (bool, error) {
	own, err := link.HostNS()
	if err != nil {
		return false, err
	}
	defer own.Close()
	theirs, err := link.OpenNS(path)
	if err != nil {
		return false, err
	}
	defer theirs.Close()
	return own.Identity() == theirs.Identity(), nil
}

// RemoveEndpoint implements drivers.Driver.
func (d *Driver) RemoveEndpoint(ctx context.Context, _ drivers.NetworkID, _ drivers.EndpointID) error {
	return d.ready(ctx)
}

// Sync implements drivers.Driver.
func (d *Driver) Sync(ctx context.Context, _ []drivers.NetworkState) error { return d.ready(ctx) }

// Check implements drivers.Driver.
func (d *Driver) Check(ctx context.Context, _ []drivers.NetworkState) ([]drivers.Drift, error) {
	return nil, d.ready(ctx)
}

// Close implements drivers.Driver.
func (d *Driver) Close() error {
	d.closed.Store(true)
	return nil
}

// ready refuses calls of a closed driver or with an ended context.
func (d *Driver) ready(ctx context.Context) error {
	if d.closed.Load() {
		return fmt.Errorf("driver host: %w", drivers.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("driver host: %w", err)
	}
	return nil
}

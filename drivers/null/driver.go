package null

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/libcnm/libcnm/drivers"
)

// Name is the driver's name.
const Name = "null"

// Options has nothing to set.
type Options struct{}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }

// Driver implements drivers.Driver. The zero value is ready to use.
type Driver struct{ closed atomic.Bool }

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Singleton: true}
}

// Validate implements drivers.Driver: such a network has neither addresses nor a link of its own.
func (d *Driver) Validate(n drivers.Network) error {
	switch {
	case len(n.Subnets) > 0:
		return fmt.Errorf("network %s: subnet %s: driver null has no addresses to give: %w", n.ID, n.Subnets[0].Prefix, drivers.ErrInvalid)
	case n.MTU != 0:
		return fmt.Errorf("network %s: MTU %d: driver null has no link to set it on: %w", n.ID, n.MTU, drivers.ErrInvalid)
	case n.VNI != 0:
		return fmt.Errorf("network %s: VNI %d: driver null has none: %w", n.ID, n.VNI, drivers.ErrInvalid)
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

// ApplyEndpoint implements drivers.Driver.
func (d *Driver) ApplyEndpoint(ctx context.Context, _ drivers.Endpoint) (drivers.Attachment, error) {
	return drivers.Attachment{}, d.ready(ctx)
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
		return fmt.Errorf("driver null: %w", drivers.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("driver null: %w", err)
	}
	return nil
}

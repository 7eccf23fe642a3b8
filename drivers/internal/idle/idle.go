// Package idle is a driver that has nothing to program on the host: no link, no address, no peer. Drivers for such
// networks embed one and say what is special about theirs.
//
//	type Driver struct{ idle.Driver[Options] }
//
//	func (d *Driver) Info() drivers.Info { return drivers.Info{Name: Name, Scope: drivers.ScopeLocal} }
package idle

import (
	"context"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/gate"
)

// Driver has every method of drivers.Driver but Info. O are the driver's options, whose zero value names it. The zero
// value is ready to use.
type Driver[O drivers.Options] struct{ gate gate.Gate }

func (d *Driver[O]) enter(ctx context.Context) error {
	var o O
	return d.gate.Enter(ctx, o.DriverName())
}

// Validate implements drivers.Driver: such a network has neither addresses nor a link of its own.
func (d *Driver[O]) Validate(n drivers.Network) error {
	var o O
	if err := (drivers.Info{Name: o.DriverName()}).Validate(n); err != nil {
		return err
	}
	if n.MTU != 0 {
		return fmt.Errorf("network %s: MTU %d: driver %s has no link to set it on: %w", n.ID, n.MTU, o.DriverName(), drivers.ErrInvalid)
	}
	if _, err := drivers.DecodeOptions[O](n.Options); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	return nil
}

// ApplyNetwork implements drivers.Driver.
func (d *Driver[O]) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	return d.Validate(n)
}

// RemoveNetwork implements drivers.Driver.
func (d *Driver[O]) RemoveNetwork(ctx context.Context, _ drivers.NetworkID) error {
	return d.enter(ctx)
}

// ApplyEndpoint implements drivers.Driver.
func (d *Driver[O]) ApplyEndpoint(ctx context.Context, _ drivers.Endpoint) (drivers.Attachment, error) {
	return drivers.Attachment{}, d.enter(ctx)
}

// RemoveEndpoint implements drivers.Driver.
func (d *Driver[O]) RemoveEndpoint(ctx context.Context, _ drivers.NetworkID, _ drivers.EndpointID) error {
	return d.enter(ctx)
}

// Sync implements drivers.Driver.
func (d *Driver[O]) Sync(ctx context.Context, _ []drivers.NetworkState) error { return d.enter(ctx) }

// Check implements drivers.Driver.
func (d *Driver[O]) Check(ctx context.Context, _ []drivers.NetworkState) ([]drivers.Drift, error) {
	return nil, d.enter(ctx)
}

// Close implements drivers.Driver.
func (d *Driver[O]) Close() error {
	d.gate.Close()
	return nil
}

// Package gate is the first line of every method of a driver.
//
//	func (d *Driver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
//		if err := d.gate.Enter(ctx, Name); err != nil {
//			return err
//		}
//		...
package gate

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/libcnm/libcnm/drivers"
)

// Gate keeps calls out of a driver that has been closed. The zero value is open.
type Gate struct{ closed atomic.Bool }

// Enter refuses the call of a closed driver as ErrClosed, and one whose context has ended with that context's error.
func (g *Gate) Enter(ctx context.Context, driver string) error {
	if g.Closed() {
		return fmt.Errorf("driver %s: %w", driver, drivers.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("driver %s: %w", driver, err)
	}
	return nil
}

// Close keeps later calls out. It is false if the gate was closed before.
func (g *Gate) Close() bool { return !g.closed.Swap(true) }

// Closed reports whether Close has been called.
func (g *Gate) Closed() bool { return g.closed.Load() }

package ovsvxlan

import (
	"context"
	"errors"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// lockNode waits for its turn to change what all networks share.
func (d *Driver) lockNode(ctx context.Context) (unlock func(), err error) {
	select {
	case d.node <- struct{}{}:
		return func() { <-d.node }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open returns the connected engine.
func (d *Driver) open(ctx context.Context) (*ovsvxlan.Switch, error) {
	unlock, err := d.lockNode(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d.mu.Lock()
	engine := d.engine
	d.mu.Unlock()
	if engine != nil {
		return engine, nil
	}
	engine, err = ovsvxlan.Open(ctx, ovsvxlan.Config{
		OVSDB: d.cfg.OVSDB, Datapath: d.cfg.Datapath, VTEP: d.cfg.VTEP, TunnelUDPPort: d.cfg.TunnelUDPPort, Logger: d.log,
		DeviceIndex: d.deviceIndex,
		Gateway: ovsvxlan.Gateway{
			Interface: gatewayPort, MAC: gatewayPortMAC, HostMAC: gatewayHostMAC,
			Transit4: d.cfg.Transit4, Transit6: d.cfg.Transit6,
		},
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gate.Closed() {
		engine.Close()
		return nil, fmt.Errorf("driver %s: %w", Name, drivers.ErrClosed)
	}
	d.engine = engine
	d.forwarding.Go(func() { d.forwardEvents(engine) })
	return engine, nil
}

// deviceIndex asks for one device. What bears the name only as an alternative one is not called that.
func (d *Driver) deviceIndex(ctx context.Context, name string) (int, error) {
	l, err := d.host.Link(ctx, name)
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrConflict) {
		return 0, nil
	}
	return l.Index, err
}

// forwardEvents ends when the engine is closed. A reason that nobody takes is dropped, but for one.
func (d *Driver) forwardEvents(engine *ovsvxlan.Switch) {
	for reason := range engine.Events() {
		select {
		case d.events <- reason:
		default:
		}
	}
}

// reach returns the engine for removing things. It is nil where Open vSwitch does not run and nothing of ours is on the
// host: links come before everything else and go after it, so without them there is nothing.
func (d *Driver) reach(ctx context.Context) (*ovsvxlan.Switch, error) {
	engine, err := d.open(ctx)
	if !errors.Is(err, drivers.ErrUnavailable) || ctx.Err() != nil {
		return engine, err
	}
	owned, ownedErr := d.host.Links(ctx)
	if ownedErr != nil {
		return nil, errors.Join(err, ownedErr)
	}
	if len(owned) > 0 {
		return nil, err
	}
	return nil, nil
}

package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/gate"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/iptables"
)

// Name is the driver's name.
const Name = "bridge"

// Firewall is the part of *iptables.Firewall that the driver uses. It is shared with other drivers, so the driver does
// not close it.
type Firewall interface {
	Set(ctx context.Context, owner string, n iptables.Network) error
	Remove(ctx context.Context, owner, id string) error
	Sync(ctx context.Context, spec iptables.Spec) error
	Check(ctx context.Context, spec iptables.Spec) ([]iptables.Difference, error)
}

// Config is what a Driver needs.
type Config struct {
	Firewall Firewall     // required
	Logger   *slog.Logger // nil: silence
}

// Driver implements drivers.Driver.
type Driver struct {
	gate     gate.Gate
	host     veths.Host
	firewall Firewall
	log      *slog.Logger

	mu       sync.Mutex // guards the following
	networks map[drivers.NetworkID]network
}

// New makes a driver. It touches nothing on the host.
func New(cfg Config) (*Driver, error) {
	if cfg.Firewall == nil {
		return nil, fmt.Errorf("driver bridge: no firewall: %w", drivers.ErrInvalid)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := veths.Open(Name)
	if err != nil {
		return nil, err
	}
	return &Driver{host: host, firewall: cfg.Firewall, log: cfg.Logger, networks: map[drivers.NetworkID]network{}}, nil
}

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info { return info() }

func info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Addressing: true}
}

// Validate implements drivers.Driver.
func (d *Driver) Validate(n drivers.Network) error { return validate(n) }

// ApplyNetwork implements drivers.Driver. The firewall comes first: the network is isolated before it can carry anything.
func (d *Driver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	nw, err := d.plan(ctx, n)
	if err != nil {
		return err
	}
	if err := d.firewall.Set(ctx, Name, nw.rules); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	if err := d.fence(ctx, nw); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	if err := d.ensureBridge(ctx, nw); err != nil {
		return err
	}
	d.remember(nw)
	d.log.InfoContext(ctx, "bridge network applied", "network", n.ID, "bridge", nw.bridge.Name, "mtu", nw.bridge.MTU)
	return nil
}

func (d *Driver) ensureBridge(ctx context.Context, nw network) error {
	if err := d.host.Forward(ctx, nw.Network); err != nil {
		return err
	}
	if err := d.host.EnsureBridge(ctx, nw.bridge); err != nil {
		return fmt.Errorf("network %s: %w", nw.ID, err)
	}
	return nil
}

// RemoveNetwork implements drivers.Driver. The firewall goes last, for the same reason for which it comes first.
func (d *Driver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	if err := d.removeLinks(ctx, id); err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	if err := d.unfence(ctx, id); err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	if err := d.firewall.Remove(ctx, Name, string(id)); err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	d.mu.Lock()
	delete(d.networks, id)
	d.mu.Unlock()
	d.log.InfoContext(ctx, "bridge network removed", "network", id)
	return nil
}

// ApplyEndpoint implements drivers.Driver.
func (d *Driver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return drivers.Attachment{}, err
	}
	d.mu.Lock()
	nw, known := d.networks[ep.Network]
	d.mu.Unlock()
	if !known {
		return drivers.Attachment{}, fmt.Errorf("endpoint %s: network %s has not been applied: %w", ep.ID, ep.Network, drivers.ErrNotFound)
	}
	if err := d.host.Ensure(ctx, nw.port(ep)); err != nil {
		return drivers.Attachment{}, err
	}
	return veths.Attachment(nw.Network, ep, nw.bridge.MTU), nil
}

// RemoveEndpoint implements drivers.Driver.
func (d *Driver) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	return d.host.Remove(ctx, n, ep)
}

// Close implements drivers.Driver.
func (d *Driver) Close() error {
	d.gate.Close()
	return d.host.Close()
}

func (d *Driver) remember(nw network) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[nw.ID] = nw
}

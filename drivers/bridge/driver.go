package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
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
	host     *link.Handle
	firewall Firewall
	log      *slog.Logger

	mu       sync.Mutex // guards the following
	networks map[drivers.NetworkID]network
	closed   bool
}

// New makes a driver. It touches nothing on the host.
func New(cfg Config) (*Driver, error) {
	if cfg.Firewall == nil {
		return nil, fmt.Errorf("driver bridge: no firewall: %w", drivers.ErrInvalid)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	host, err := link.Open(nil)
	if err != nil {
		return nil, fmt.Errorf("driver bridge: %w", err)
	}
	return &Driver{host: host, firewall: cfg.Firewall, log: cfg.Logger, networks: map[drivers.NetworkID]network{}}, nil
}

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Addressing: true}
}

// Validate implements drivers.Driver.
func (d *Driver) Validate(n drivers.Network) error { return validate(n) }

// ApplyNetwork implements drivers.Driver. The firewall comes first: the network is isolated before it can carry anything.
func (d *Driver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	nw, err := d.plan(ctx, n)
	if err != nil {
		return err
	}
	if err := d.firewall.Set(ctx, Name, nw.rules); err != nil {
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
	if err := d.forward(ctx, nw); err != nil {
		return fmt.Errorf("network %s: %w", nw.id, err)
	}
	if err := d.host.EnsureBridge(ctx, nw.bridge); err != nil {
		return fmt.Errorf("network %s: %w", nw.id, err)
	}
	return nil
}

// RemoveNetwork implements drivers.Driver. The firewall goes last, for the same reason for which it comes first.
func (d *Driver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.removeLinks(ctx, id); err != nil {
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
	if err := d.ready(ctx); err != nil {
		return drivers.Attachment{}, err
	}
	d.mu.Lock()
	nw, known := d.networks[ep.Network]
	d.mu.Unlock()
	if !known {
		return drivers.Attachment{}, fmt.Errorf("endpoint %s: network %s has not been applied: %w", ep.ID, ep.Network, drivers.ErrNotFound)
	}
	if err := d.ensureEndpoint(ctx, nw, ep); err != nil {
		return drivers.Attachment{}, err
	}
	return nw.attachment(ep), nil
}

func (d *Driver) ensureEndpoint(ctx context.Context, nw network, ep drivers.Endpoint) error {
	if err := nw.validateEndpoint(ep); err != nil {
		return err
	}
	ns, err := link.OpenNS(ep.NetNS)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	defer ns.Close()
	if err := d.host.EnsureVeth(ctx, nw.veth(ep, ns)); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	return nil
}

// RemoveEndpoint implements drivers.Driver.
func (d *Driver) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.host.DeleteLink(ctx, vethName(n, ep), endpointMark(n, ep)); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep, err)
	}
	return nil
}

// Close implements drivers.Driver.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	return d.host.Close()
}

// ready refuses calls of a closed driver or with an ended context.
func (d *Driver) ready(ctx context.Context) error {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return fmt.Errorf("driver bridge: %w", drivers.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("driver bridge: %w", err)
	}
	return nil
}

func (d *Driver) remember(nw network) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[nw.id] = nw
}

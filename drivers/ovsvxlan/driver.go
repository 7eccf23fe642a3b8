package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/gate"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// Name is the driver's name.
const Name = "ovs-vxlan"

// Firewall is the part of *iptables.Firewall that the driver uses. It is shared with other drivers, so the driver does
// not close it.
type Firewall interface {
	Sync(ctx context.Context, spec iptables.Spec) error
	Check(ctx context.Context, spec iptables.Spec) ([]iptables.Difference, error)
}

// Config is what a Driver needs. VTEP and Firewall are required.
type Config struct {
	VTEP     netip.Addr // this node's tunnel address
	Firewall Firewall

	OVSDB         string            // default ovsvxlan.DefaultOVSDB
	Datapath      ovsvxlan.Datapath // default: the kernel's where there is one, else netdev
	TunnelUDPPort uint16            // default ovsvxlan.DefaultTunnelUDPPort
	UnderlayMTU   int               // bytes; 0: that of the interface that has VTEP
	Transit4      netip.Prefix      // default DefaultTransit4
	Transit6      netip.Prefix      // default DefaultTransit6
	Logger        *slog.Logger      // nil: silence
}

// The default ranges of transit addresses: link-local, which nobody routes, and one made of the letters "libcnm".
var (
	DefaultTransit4 = netip.MustParsePrefix("169.254.64.0/18")
	DefaultTransit6 = netip.MustParsePrefix("fd6c:6962:636e:6d::/64")
)

// Driver implements drivers.Driver, drivers.PeerApplier, drivers.Settler and drivers.Notifier.
type Driver struct {
	gate gate.Gate
	cfg  Config
	host veths.Host
	log  *slog.Logger

	// node is held by whoever makes or removes what all networks share. A channel, because waiting for it must end
	// with a context.
	node chan struct{}

	mu       sync.Mutex // guards the following
	engine   *ovsvxlan.Switch
	networks map[drivers.NetworkID]network
	reported map[drivers.NetworkID]string // MTU mismatches that were logged

	events     chan string
	forwarding sync.WaitGroup
}

// New makes a driver. It touches nothing on the host.
func New(cfg Config) (*Driver, error) {
	if cfg.Firewall == nil {
		return nil, fmt.Errorf("driver %s: no firewall: %w", Name, drivers.ErrInvalid)
	}
	if !cfg.VTEP.IsValid() {
		return nil, fmt.Errorf("driver %s: no tunnel address: %w", Name, drivers.ErrInvalid)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.TunnelUDPPort == 0 {
		cfg.TunnelUDPPort = ovsvxlan.DefaultTunnelUDPPort
	}
	if !cfg.Transit4.IsValid() {
		cfg.Transit4 = DefaultTransit4
	}
	if !cfg.Transit6.IsValid() {
		cfg.Transit6 = DefaultTransit6
	}
	host, err := veths.Open(Name)
	if err != nil {
		return nil, err
	}
	return &Driver{
		cfg: cfg, host: host, log: cfg.Logger,
		node:     make(chan struct{}, 1),
		networks: map[drivers.NetworkID]network{},
		reported: map[drivers.NetworkID]string{},
		events:   make(chan string, 1),
	}, nil
}

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info { return info() }

func info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true}
}

// Validate implements drivers.Driver.
func (d *Driver) Validate(n drivers.Network) error { return validate(n) }

// Events implements drivers.Notifier.
func (d *Driver) Events() <-chan string { return d.events }

// ApplyNetwork implements drivers.Driver. The firewall comes first: nothing may come up without it.
func (d *Driver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	engine, err := d.open(ctx)
	if err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	fits, err := d.fits(ctx)
	if err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	nw, err := d.plan(n, fits)
	if err != nil {
		return err
	}
	guess := d.usesNetdev()
	if err := d.enter(ctx, nw, fits); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	if err := engine.ApplyNetwork(ctx, toNetwork(n)); err != nil {
		return d.abandon(ctx, n.ID, err)
	}
	if err := d.settle(ctx, fits, guess); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	d.log.InfoContext(ctx, "overlay network applied", "network", n.ID, "vni", n.VNI, "mtu", nw.mtu)
	return nil
}

// RemoveNetwork implements drivers.Driver.
func (d *Driver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	engine, err := d.reach(ctx)
	if err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	if engine != nil {
		if err := engine.RemoveNetwork(ctx, string(id)); err != nil {
			return fmt.Errorf("network %s: %w", id, err)
		}
	}
	if err := d.removeLinks(ctx, func(o link.Owner) bool { return o.Network == string(id) }); err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	if err := d.leave(ctx, id); err != nil {
		return fmt.Errorf("network %s: %w", id, err)
	}
	d.log.InfoContext(ctx, "overlay network removed", "network", id)
	return nil
}

// neighbourRetry is a few times what the news of an endpoint takes to get around, so that most are asked for once or twice.
// The switch of the sandbox's own host answers: nobody else hears of it.
const neighbourRetry = 40 * time.Millisecond

// ApplyEndpoint implements drivers.Driver.
func (d *Driver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return drivers.Attachment{}, err
	}
	d.mu.Lock()
	nw, known := d.networks[ep.Network]
	engine := d.engine
	d.mu.Unlock()
	if !known {
		return drivers.Attachment{}, fmt.Errorf("endpoint %s: network %s has not been applied: %w", ep.ID, ep.Network, drivers.ErrNotFound)
	}
	if err := d.host.Ensure(ctx, d.port(nw, ep)); err != nil {
		return drivers.Attachment{}, err
	}
	if err := engine.ApplyEndpoint(ctx, toEndpoint(ep)); err != nil {
		return drivers.Attachment{}, err
	}
	made := veths.Attachment(nw.Network, ep, nw.mtu)
	made.NeighbourRetry = neighbourRetry
	return made, nil
}

// Settle implements drivers.Settler.
func (d *Driver) Settle(ctx context.Context) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	d.mu.Lock()
	engine := d.engine
	d.mu.Unlock()
	if engine == nil {
		return nil
	}
	return engine.Settle(ctx)
}

// RemoveEndpoint implements drivers.Driver. Flows go before the interface, so that nothing is sent to its port's next
// owner.
func (d *Driver) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	engine, err := d.reach(ctx)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", ep, err)
	}
	if engine != nil {
		if err := engine.RemoveEndpoint(ctx, string(n), string(ep)); err != nil {
			return err
		}
	}
	return d.host.Remove(ctx, n, ep)
}

// ApplyPeers implements drivers.PeerApplier.
func (d *Driver) ApplyPeers(ctx context.Context, n drivers.NetworkID, u drivers.PeerUpdate) error {
	if err := d.gate.Enter(ctx, Name); err != nil {
		return err
	}
	d.mu.Lock()
	nw, known := d.networks[n]
	engine := d.engine
	d.mu.Unlock()
	if !known {
		return fmt.Errorf("peers: network %s has not been applied: %w", n, drivers.ErrNotFound)
	}
	update := ovsvxlan.PeerUpdate{Full: u.Full, Set: toPeers(n, u.Set), Members: toMembers(u.Members)}
	for _, r := range u.Del {
		update.Del = append(update.Del, ovsvxlan.PeerRef{ID: string(r.Endpoint), Generation: r.Generation})
	}
	err := engine.ApplyPeers(ctx, string(n), update)
	d.report(ctx, nw, u.Members)
	return err
}

// report logs MTU mismatches when they are new.
func (d *Driver) report(ctx context.Context, nw network, members []drivers.Member) {
	found := d.mismatches(nw, members)
	text := fmt.Sprint(found)
	d.mu.Lock()
	known := d.reported[nw.ID] == text
	d.reported[nw.ID] = text
	d.mu.Unlock()
	if known {
		return
	}
	for _, drift := range found {
		d.log.WarnContext(ctx, "MTU mismatch", "network", nw.ID, "of", drift.Object, "want", drift.Want, "have", drift.Have)
	}
}

// Close implements drivers.Driver.
func (d *Driver) Close() error {
	if !d.gate.Close() {
		return nil
	}
	d.mu.Lock()
	engine := d.engine
	d.mu.Unlock()
	if engine != nil {
		engine.Close()
	}
	d.forwarding.Wait()
	close(d.events)
	return d.host.Close()
}

func (d *Driver) usesNetdev() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine != nil && d.engine.Datapath() == ovsvxlan.DatapathNetdev
}

// abandon takes back the entry of a network that the engine refused, if there is nothing of it.
func (d *Driver) abandon(ctx context.Context, id drivers.NetworkID, cause error) error {
	if !errors.Is(cause, drivers.ErrConflict) && !errors.Is(cause, drivers.ErrUnsupported) && !errors.Is(cause, drivers.ErrInvalid) {
		return cause
	}
	return errors.Join(cause, d.leave(context.WithoutCancel(ctx), id))
}

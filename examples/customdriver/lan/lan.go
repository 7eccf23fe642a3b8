package lan

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"sync"

	"github.com/libcnm/libcnm/drivers"
)

// Options are the settings of one network.
type Options struct {
	// Uplink is the host's interface into the segment. It must carry no addresses, for those would stop working,
	// and be no port of another bridge. Empty: the network has no way out of this host.
	Uplink string `json:"uplink,omitempty"`
}

// DriverName is "lan".
func (Options) DriverName() string { return "lan" }

// Driver is a drivers.Driver. Make one with New.
type Driver struct {
	mu       sync.Mutex // guards the fields below; not held while the kernel works
	closed   bool
	networks map[drivers.NetworkID]network // what ApplyNetwork and Sync were told last
}

// network is a network with its options read.
type network struct {
	drivers.Network
	uplink string
}

var _ drivers.Driver = (*Driver)(nil)

// New makes a driver. It touches nothing until its first network.
func New() *Driver { return &Driver{networks: map[drivers.NetworkID]network{}} }

// Info describes the driver. Its subnets may overlap the host's own: it never routes.
func (d *Driver) Info() drivers.Info { return info() }

func info() drivers.Info {
	return drivers.Info{Name: Options{}.DriverName(), Scope: drivers.ScopeLocal, Addressing: true, Overlap: true}
}

// Validate reads only n: whether the uplink exists is a matter of the host, and ApplyNetwork's.
func (d *Driver) Validate(n drivers.Network) error {
	_, err := read(n)
	return err
}

// ifname is what a user may call an interface; the kernel would take far more.
var ifname = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

// read checks a network and decodes its options.
func read(n drivers.Network) (network, error) {
	if err := info().Validate(n); err != nil {
		return network{}, err
	}
	o, err := drivers.DecodeOptions[Options](n.Options)
	switch {
	case err != nil:
	case o.Uplink != "" && !ifname.MatchString(o.Uplink):
		err = fmt.Errorf("uplink %q: not an interface name: %w", o.Uplink, drivers.ErrInvalid)
	case o.Uplink != "" && n.Internal:
		err = fmt.Errorf("uplink %s: an internal network has none: %w", o.Uplink, drivers.ErrInvalid)
	}
	if err != nil {
		return network{}, fmt.Errorf("network %s: %w", n.ID, err)
	}
	return network{Network: n, uplink: o.Uplink}, nil
}

// begin is the first line of every method: it refuses ended contexts and closed drivers before anything changes.
func (d *Driver) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("driver lan: %w", drivers.ErrClosed)
	}
	return nil
}

func (d *Driver) remember(n network) {
	n.Subnets = append([]drivers.Subnet(nil), n.Subnets...) // the caller may reuse its slice
	n.Options = nil                                         // read already
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[n.ID] = n
}

func (d *Driver) recall(id drivers.NetworkID) (network, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.networks[id]
	if !ok {
		return network{}, fmt.Errorf("network %s: not applied: %w", id, drivers.ErrNotFound)
	}
	return n, nil
}

func (d *Driver) forgetAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks = map[drivers.NetworkID]network{}
}

func (d *Driver) forget(id drivers.NetworkID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks, id)
}

// ApplyNetwork makes the bridge and takes the uplink into it.
func (d *Driver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := d.begin(ctx); err != nil {
		return fmt.Errorf("apply network %s: %w", n.ID, err)
	}
	nw, err := read(n)
	if err != nil {
		return err
	}
	if err := applyBridge(ctx, nw); err != nil {
		return fmt.Errorf("apply network %s: %w", n.ID, err)
	}
	d.remember(nw)
	return nil
}

// RemoveNetwork removes the ports and then the bridge. The uplink goes free with it.
func (d *Driver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	err := d.begin(ctx)
	if err == nil {
		err = deleteBridge(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("remove network %s: %w", id, err)
	}
	d.forget(id)
	return nil
}

// ApplyEndpoint makes a veth whose one end is a port of the bridge and whose other end is the sandbox's interface.
func (d *Driver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	err := d.begin(ctx)
	var nw network
	if err == nil {
		nw, err = d.recall(ep.Network)
	}
	var mtu int
	if err == nil {
		mtu, err = applyPort(ctx, nw, ep)
	}
	if err != nil {
		return drivers.Attachment{}, fmt.Errorf("apply endpoint %s: %w", ep.ID, err)
	}
	return drivers.Attachment{Interface: ep.Interface, MTU: mtu, Gateways: nw.gateways()}, nil
}

// gateways are the segment's routers, of which a segment without an uplink has none.
func (n network) gateways() (out []netip.Addr) {
	if n.uplink == "" {
		return nil
	}
	var has4, has6 bool
	for _, s := range n.Subnets {
		has := &has6
		if s.Gateway.Is4() {
			has = &has4
		}
		if s.Gateway.IsValid() && !*has {
			out, *has = append(out, s.Gateway), true
		}
	}
	return out
}

// RemoveEndpoint removes the host's end; the sandbox's goes with it, or went with its namespace.
func (d *Driver) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	err := d.begin(ctx)
	if err == nil {
		err = deleteOwned(portName(ep), mark{n, ep})
	}
	if err != nil {
		return fmt.Errorf("remove endpoint %s: %w", ep, err)
	}
	return nil
}

// Close forgets. There is nothing to release, and the bridges stay.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

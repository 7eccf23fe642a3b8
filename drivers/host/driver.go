package host

import (
	"context"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/idle"
	"github.com/libcnm/libcnm/internal/link"
)

// Name is the driver's name.
const Name = "host"

// Options has nothing to set.
type Options struct{}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }

// Driver implements drivers.Driver. The zero value is ready to use.
type Driver struct{ idler }

type idler = idle.Driver[Options]

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Singleton: true, HostNetNS: true}
}

// Validate implements drivers.Driver.
func (d *Driver) Validate(n drivers.Network) error {
	if n.Internal {
		return fmt.Errorf("network %s: internal: the host is not: %w", n.ID, drivers.ErrInvalid)
	}
	return d.idler.Validate(n)
}

// ApplyEndpoint implements drivers.Driver. The namespace must be the host's own, else ErrInvalid.
func (d *Driver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	a, err := d.idler.ApplyEndpoint(ctx, ep)
	if err != nil {
		return a, err
	}
	same, err := isHost(ep.NetNS)
	if err != nil {
		return a, fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	if !same {
		return a, fmt.Errorf("endpoint %s: namespace %s is not the host's: %w", ep.ID, ep.NetNS, drivers.ErrInvalid)
	}
	return a, nil
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

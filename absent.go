package libcnm

import (
	"context"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
)

// absentDriver stands for the driver of a network that this controller does not have: another node of the cluster does. The network can
// be found, listed and deleted here, but not joined.
type absentDriver struct{ info drivers.Info }

// driverOf returns the driver of a recorded network.
func (c *NetworkController) driverOf(rec *networkRecord) *driverHost {
	if h := c.drivers[rec.Driver]; h != nil {
		return h
	}
	return newDriverHost(absentDriver{drivers.Info{
		Name: rec.Driver, Scope: drivers.ScopeCluster, Addressing: len(rec.Subnets) > 0, VNI: rec.VNI != 0, Overlap: true,
	}})
}

func (d absentDriver) err() error {
	return fmt.Errorf("driver %s is not registered on this node: %w", printable(d.info.Name), ErrUnsupported)
}

func (d absentDriver) Info() drivers.Info { return d.info }

func (d absentDriver) Validate(drivers.Network) error { return d.err() }

func (d absentDriver) ApplyNetwork(context.Context, drivers.Network) error { return d.err() }

func (d absentDriver) RemoveNetwork(context.Context, drivers.NetworkID) error { return nil }

func (d absentDriver) ApplyEndpoint(context.Context, drivers.Endpoint) (drivers.Attachment, error) {
	return drivers.Attachment{}, d.err()
}

func (d absentDriver) RemoveEndpoint(context.Context, drivers.NetworkID, drivers.EndpointID) error {
	return nil
}

func (d absentDriver) Sync(context.Context, []drivers.NetworkState) error { return d.err() }

func (d absentDriver) Check(context.Context, []drivers.NetworkState) ([]drivers.Drift, error) {
	return nil, d.err()
}

func (d absentDriver) Close() error { return nil }

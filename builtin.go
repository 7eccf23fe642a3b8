package libcnm

import (
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/bridge"
	"github.com/libcnm/libcnm/drivers/host"
	"github.com/libcnm/libcnm/drivers/null"
	"github.com/libcnm/libcnm/drivers/ovsvxlan"
)

// builtinDrivers makes the drivers that come with the library. None opens anything before its first network.
func (c *NetworkController) builtinDrivers(cfg *config) ([]drivers.Driver, error) {
	fw := new(firewall)
	c.closers = append(c.closers, fw.Close)
	br, err := bridge.New(bridge.Config{Firewall: fw, Logger: cfg.log})
	if err != nil {
		return nil, err
	}
	list := []drivers.Driver{br, new(host.Driver), new(null.Driver)}
	if !c.tunnels() {
		return list, nil
	}
	overlay, err := ovsvxlan.New(ovsvxlan.Config{
		VTEP: c.node.VTEP, UnderlayMTU: c.node.MTU, OVSDB: cfg.ovsdb, Firewall: fw, Logger: cfg.log,
	})
	if err != nil {
		return nil, err
	}
	return append(list, overlay), nil
}

// missingDriver says why a driver that comes with the library is not there; nil for others.
func (c *NetworkController) missingDriver(name string) error {
	if name == ovsvxlan.Name && !c.tunnels() {
		return fmt.Errorf("driver %s: this host has no default route to take its tunnel address from, and WithNode gives none: %w",
			name, ErrUnsupported)
	}
	return nil
}

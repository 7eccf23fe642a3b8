package libcnm

import (
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/bridge"
	"github.com/libcnm/libcnm/drivers/host"
	"github.com/libcnm/libcnm/drivers/null"
)

// builtinDrivers makes the drivers that come with the library. None opens anything before its first network.
func (c *NetworkController) builtinDrivers(cfg *config) ([]drivers.Driver, error) {
	fw := new(firewall)
	c.closers = append(c.closers, fw.Close)
	br, err := bridge.New(bridge.Config{Firewall: fw, Logger: cfg.log})
	if err != nil {
		return nil, err
	}
	return []drivers.Driver{br, new(host.Driver), new(null.Driver)}, nil
}

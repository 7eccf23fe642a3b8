package null

import (
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/idle"
)

// Name is the driver's name.
const Name = "null"

// Options has nothing to set.
type Options struct{}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }

// Driver implements drivers.Driver. The zero value is ready to use.
type Driver struct{ idler }

type idler = idle.Driver[Options]

// Info implements drivers.Driver.
func (d *Driver) Info() drivers.Info {
	return drivers.Info{Name: Name, Scope: drivers.ScopeLocal, Singleton: true}
}

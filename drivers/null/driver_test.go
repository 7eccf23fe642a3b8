package null

import (
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		return drivertest.Host{
			Open:       func() (drivers.Driver, error) { return new(Driver), nil },
			NewSandbox: func() drivertest.Sandbox { return drivertest.Sandbox{NetNS: "/run/any"} },
			Dump:       func() string { return "" },
		}
	})
}

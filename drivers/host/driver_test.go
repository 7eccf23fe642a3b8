package host

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		return drivertest.Host{
			Open:       func() (drivers.Driver, error) { return new(Driver), nil },
			NewSandbox: func() drivertest.Sandbox { return drivertest.Sandbox{NetNS: "/proc/self/ns/net"} },
			Dump:       func() string { return "" },
		}
	})
}

func TestOnlyTheHostsOwnNamespaceJoins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ns")
	if err := link.CreateNS(path); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := link.DeleteNS(path); err != nil {
			t.Error(err)
		}
	}()
	cases := map[string]error{"/proc/self/ns/net": nil, "/proc/thread-self/ns/net": nil, path: drivers.ErrInvalid, "/nowhere": drivers.ErrNotFound}
	for at, want := range cases {
		a, err := new(Driver).ApplyEndpoint(t.Context(), drivers.Endpoint{ID: "e", NetNS: at})
		if !errors.Is(err, want) || a.Interface != "" {
			t.Errorf("%s: %+v, %v; want no interface, %v", at, a, err, want)
		}
	}
}

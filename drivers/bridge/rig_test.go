package bridge

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// newDriver makes a driver, and leaves the host clean.
func newDriver(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Config{Firewall: rig.NewFirewall(t)})
	rig.Must(t, err)
	t.Cleanup(func() {
		rig.Must(t, d.Sync(context.WithoutCancel(t.Context()), nil))
		rig.Must(t, d.Close())
		if left := dump(t); left != "" {
			t.Errorf("left on the host:\n%s", left)
		}
	})
	return d
}

// newNetwork is the n-th network, dual stack.
func newNetwork(n int) drivers.Network {
	nw := rig.Network(n)
	nw.MTU = 1400
	return nw
}

// join brings an endpoint of a network up in a sandbox of its own.
func join(t testing.TB, d *Driver, n drivers.Network, host int) rig.Box {
	t.Helper()
	return rig.Join(t, d, rig.Endpoint(n, host, rig.NewPath(t), "eth0"))
}

// dump renders all that the driver has on this host, and what is in the given sandboxes.
func dump(t testing.TB, sandboxes ...string) string {
	t.Helper()
	out := slices.Concat(rig.DumpLinks(t), rig.DumpSandboxes(t, sandboxes...), rig.DumpRules(t))
	slices.Sort(out)
	return strings.Join(out, "\n")
}

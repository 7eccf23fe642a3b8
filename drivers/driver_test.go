package drivers_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

// traced decorates a driver; embedding the interface hides the optional ones below.
type traced struct{ drivers.Driver }

func (t traced) Unwrap() drivers.Driver { return t.Driver }

// opaque decorates without telling what it decorates.
type opaque struct{ drivers.Driver }

func TestAs(t *testing.T) {
	cluster := drivertest.NewFake(drivertest.FakeConfig{Info: drivers.Info{Name: "fake", Scope: drivers.ScopeCluster}})
	for _, c := range []struct {
		name string
		d    drivers.Driver
		want bool
	}{
		{"itself", cluster, true},
		{"one wrapper", traced{cluster}, true},
		{"two wrappers", traced{traced{cluster}}, true},
		{"a wrapper without Unwrap", opaque{cluster}, false},
		{"a driver without it", traced{drivertest.NewFake(drivertest.FakeConfig{})}, false},
		{"a wrapper around nothing", traced{}, false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, ok := drivers.As[drivers.PeerApplier](c.d)
			if ok != c.want || (p != nil) != c.want {
				t.Errorf("As found %v, %t, want %t", p, ok, c.want)
			}
		})
	}
}

func ExampleAs() {
	var d drivers.Driver = traced{drivertest.NewFake(drivertest.FakeConfig{
		Info: drivers.Info{Name: "fake", Scope: drivers.ScopeCluster},
	})}
	ctx := context.Background()
	if err := d.ApplyNetwork(ctx, drivers.Network{ID: "n"}); err != nil {
		fmt.Println(err)
		return
	}
	if p, ok := drivers.As[drivers.PeerApplier](d); ok {
		fmt.Println(p.ApplyPeers(ctx, "n", drivers.PeerUpdate{Full: true}))
	}
	// Output: <nil>
}

func TestDriftString(t *testing.T) {
	for _, c := range []struct {
		drift drivers.Drift
		want  string
	}{
		{drivers.Drift{Object: "link cnmv0a1b", Want: "mtu 1450", Have: "mtu 1500"}, "link cnmv0a1b: want mtu 1450, have mtu 1500"},
		{drivers.Drift{Object: "chain CNM-FORWARD", Want: "3 rules"}, "chain CNM-FORWARD: want 3 rules, have absent"},
		{drivers.Drift{Object: "link cnmvdead", Have: "up"}, "link cnmvdead: want absent, have up"},
	} {
		if got := c.drift.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

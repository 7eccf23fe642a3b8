package lan_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/examples/customdriver/lan"
	"github.com/libcnm/libcnm/internal/testutil"
)

// office is a network whose router stands in the segment behind the uplink.
func office(t *testing.T, o lan.Options) drivers.Network {
	t.Helper()
	raw, err := drivers.EncodeOptions(o)
	if err != nil {
		t.Fatal(err)
	}
	return drivers.Network{
		ID: "5e9a0d0c1b2a3948576655443322110f",
		Subnets: []drivers.Subnet{
			{Prefix: netip.MustParsePrefix("192.168.7.0/24"), Gateway: netip.MustParseAddr("192.168.7.1")},
			{Prefix: netip.MustParsePrefix("fd07::/64"), Gateway: netip.MustParseAddr("fd07::1")},
		},
		Options: raw,
	}
}

// segment connects the host by an interface to a router in a namespace of its own.
func segment(t *testing.T, uplink string) {
	t.Helper()
	router := testutil.NewNS(t)
	testutil.Connect(t, testutil.HomeNS(t), uplink, router, "eth0")
	router.AddAddr(t, "eth0", netip.MustParsePrefix("192.168.7.1/24"), netip.MustParsePrefix("fd07::1/64"))
}

func TestTraffic(t *testing.T) {
	h := &host{tb: t}
	segment(t, "uplink0")
	d := lan.New()
	t.Cleanup(func() {
		if err := errors.Join(d.Sync(t.Context(), nil), d.Close()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
	})
	n := office(t, lan.Options{Uplink: "uplink0"})
	if err := d.ApplyNetwork(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	targets := []string{"192.168.7.1", "fd07::1"}
	for i, c := range []struct{ id, mac, v4, v6 string }{
		{"00000000000000000000000000000001", "02:42:00:00:00:01", "192.168.7.11/24", "fd07::11/64"},
		{"00000000000000000000000000000002", "02:42:00:00:00:02", "192.168.7.12/24", "fd07::12/64"},
	} {
		mac, err := drivers.ParseMAC(c.mac)
		if err != nil {
			t.Fatal(err)
		}
		path := h.newSandbox().NetNS
		a, err := d.ApplyEndpoint(t.Context(), drivers.Endpoint{
			ID: drivers.EndpointID(c.id), Network: n.ID, MAC: mac, NetNS: path, Interface: "eth0",
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []netip.Addr{n.Subnets[0].Gateway, n.Subnets[1].Gateway}; len(a.Gateways) != 2 || a.Gateways[0] != want[0] || a.Gateways[1] != want[1] {
			t.Errorf("gateways %v, want %v", a.Gateways, want)
		}
		// What the controller does with an attachment.
		sandbox := testutil.OpenNS(t, path)
		sandbox.AddAddr(t, "eth0", netip.MustParsePrefix(c.v4), netip.MustParsePrefix(c.v6))
		sandbox.LinkUp(t, "eth0")
		for _, to := range targets {
			// The bridge learns of a port's carrier some time after the link is up.
			testutil.Eventually(t, 10*time.Second, func() error {
				if _, err := testutil.Ping(t.Context(), sandbox, netip.MustParseAddr(to)); err != nil {
					return fmt.Errorf("sandbox %d does not reach %s: %w", i, to, err)
				}
				return nil
			})
		}
		targets = append(targets, strings.TrimSuffix(c.v4, "/24"), strings.TrimSuffix(c.v6, "/64"))
	}
	if err := d.RemoveNetwork(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if out := h.ip("-o", "link", "show", "uplink0"); strings.Contains(out, "master") {
		t.Errorf("the uplink is not free after RemoveNetwork: %s", out)
	}
}

func TestUplinkRefused(t *testing.T) {
	h := &host{tb: t}
	segment(t, "used0")
	testutil.HomeNS(t).AddAddr(t, "used0", netip.MustParsePrefix("192.168.7.2/24"))
	h.ip("link", "add", "theirs0", "type", "bridge")
	t.Cleanup(func() { h.ip("link", "delete", "theirs0") })
	segment(t, "port0")
	h.ip("link", "set", "port0", "master", "theirs0")
	for _, c := range []struct {
		uplink string
		class  error
	}{
		{"absent0", drivers.ErrNotFound},
		{"used0", drivers.ErrInUse},
		{"port0", drivers.ErrInUse},
		{"$(id)", drivers.ErrInvalid},
		{"x%d", drivers.ErrInvalid},
	} {
		d := lan.New()
		err := d.ApplyNetwork(t.Context(), office(t, lan.Options{Uplink: c.uplink}))
		if !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.uplink) {
			t.Errorf("uplink %s: %v, want %v naming it", c.uplink, err, c.class)
		}
		if err := d.Sync(t.Context(), nil); err != nil {
			t.Errorf("clean up: %v", err)
		}
	}
	if dump := h.dump(); dump != "" {
		t.Errorf("left on the host:\n%s", dump)
	}
	if out := h.ip("-o", "link", "show", "port0"); !strings.Contains(out, "master theirs0") {
		t.Errorf("somebody else's port was taken: %s", out)
	}
}

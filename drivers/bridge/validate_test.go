package bridge

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func TestValidateRefuses(t *testing.T) {
	cases := map[string]struct {
		spoil func(*drivers.Network)
		names string
	}{
		"VNI":            {func(n *drivers.Network) { n.VNI = 7 }, "VNI 7"},
		"no subnet":      {func(n *drivers.Network) { n.Subnets = nil }, "no subnet"},
		"no gateway":     {func(n *drivers.Network) { n.Subnets[0].Gateway, n.Subnets[1].Gateway = netip.Addr{}, netip.Addr{} }, "gateway"},
		"overlap":        {func(n *drivers.Network) { n.Subnets[1] = n.Subnets[0] }, "overlap"},
		"host bits":      {func(n *drivers.Network) { n.Subnets[0].Prefix = netip.MustParsePrefix("10.1.0.7/24") }, "10.1.0.7/24"},
		"gateway":        {func(n *drivers.Network) { n.Subnets[0].Gateway = netip.MustParseAddr("10.2.0.1") }, "10.2.0.1"},
		"gateway family": {func(n *drivers.Network) { n.Subnets[0].Gateway = netip.MustParseAddr("fd00:1::1") }, "fd00:1::1"},
		"mapped":         {func(n *drivers.Network) { n.Subnets[0].Prefix = netip.MustParsePrefix("::ffff:10.1.0.0/120") }, "::ffff"},
		"multicast": {func(n *drivers.Network) {
			n.Subnets[0] = drivers.Subnet{Prefix: netip.MustParsePrefix("224.1.0.0/24"), Gateway: netip.MustParseAddr("224.1.0.1")}
		}, "224.1.0.0/24"},
		"small MTU":      {func(n *drivers.Network) { n.MTU = 1279 }, "1279"},
		"unknown option": {func(n *drivers.Network) { n.Options = json.RawMessage(`{"disable_mascarade":true}`) }, "disable_mascarade"},
		"ID":             {func(n *drivers.Network) { n.ID = "a;b" }, "a;b"},
	}
	for name, c := range cases {
		n := newNetwork(1)
		c.spoil(&n)
		if err := validate(n); !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v, want ErrInvalid that names %q", name, err, c.names)
		}
	}
	n := newNetwork(1)
	n.MTU, n.Subnets = 68, n.Subnets[:1]
	rig.Must(t, validate(n))
	n.Internal, n.Subnets[0].Gateway = true, netip.Addr{}
	rig.Must(t, validate(n))
}

func TestEndpointIsCheckedBeforeAnythingIsMade(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	path := rig.NewPath(t)
	if _, err := d.ApplyEndpoint(t.Context(), rig.Endpoint(n, 10, path, "eth0")); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("network not applied: %v, want ErrNotFound", err)
	}
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	before := dump(t, path)
	for name, spoil := range map[string]func(*drivers.Endpoint){
		"no ID":            func(ep *drivers.Endpoint) { ep.ID = "" },
		"no MAC":           func(ep *drivers.Endpoint) { ep.MAC = drivers.MAC{} },
		"interface":        func(ep *drivers.Endpoint) { ep.Interface = "eth%d" },
		"address":          func(ep *drivers.Endpoint) { ep.Addrs[0] = netip.MustParsePrefix("10.2.0.10/24") },
		"address length":   func(ep *drivers.Endpoint) { ep.Addrs[0] = netip.MustParsePrefix("10.1.0.10/16") },
		"gateway's":        func(ep *drivers.Endpoint) { ep.Addrs[0] = netip.MustParsePrefix("10.1.0.1/24") },
		"not a namespace":  func(ep *drivers.Endpoint) { ep.NetNS = "/etc/passwd" },
		"not this kind of": func(ep *drivers.Endpoint) { ep.NetNS = "/proc/self/ns/mnt" },
	} {
		ep := rig.Endpoint(n, 10, path, "eth0")
		spoil(&ep)
		if _, err := d.ApplyEndpoint(t.Context(), ep); !errors.Is(err, drivers.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if after := dump(t, path); after != before {
		t.Errorf("something was made:\n%s", after)
	}
}

package drivers_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

func dual() drivers.Network {
	return drivers.Network{ID: "net1", VNI: 7, Subnets: []drivers.Subnet{
		{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")},
		{Prefix: netip.MustParsePrefix("fd01::/64"), Gateway: netip.MustParseAddr("fd01::1")},
	}}
}

func TestInfoValidate(t *testing.T) {
	overlay := drivers.Info{Name: "overlay", Addressing: true, VNI: true}
	subnet := func(i int, prefix, gateway string) func(*drivers.Info, *drivers.Network) {
		return func(_ *drivers.Info, n *drivers.Network) {
			n.Subnets[i] = drivers.Subnet{Prefix: netip.MustParsePrefix(prefix)}
			if gateway != "" {
				n.Subnets[i].Gateway = netip.MustParseAddr(gateway)
			}
		}
	}
	mtu := func(v int) func(*drivers.Info, *drivers.Network) {
		return func(_ *drivers.Info, n *drivers.Network) { n.MTU = v }
	}
	for _, c := range []struct {
		name  string
		spoil func(*drivers.Info, *drivers.Network)
		names string // empty: accepted
	}{
		{"as it is", func(*drivers.Info, *drivers.Network) {}, ""},
		{"no gateways", func(_ *drivers.Info, n *drivers.Network) {
			n.Subnets[0].Gateway, n.Subnets[1].Gateway = netip.Addr{}, netip.Addr{}
		}, ""},
		{"the least MTU of IPv6", mtu(1280), ""},
		{"the most", mtu(65535), ""},
		{"the least of IPv4", func(_ *drivers.Info, n *drivers.Network) { n.MTU, n.Subnets = 68, n.Subnets[:1] }, ""},
		{"too small for IPv6", mtu(1279), "MTU 1279"},
		{"too small for IPv4", func(_ *drivers.Info, n *drivers.Network) { n.MTU, n.Subnets = 67, n.Subnets[:1] }, "MTU 67"},
		{"too large", mtu(65536), "MTU 65536"},
		{"negative", mtu(-1), "MTU -1"},
		{"no VNI", func(_ *drivers.Info, n *drivers.Network) { n.VNI = 0 }, "VNI 0"},
		{"25 bits", func(_ *drivers.Info, n *drivers.Network) { n.VNI = 1 << 24 }, "VNI 16777216"},
		{"a VNI too many", func(i *drivers.Info, _ *drivers.Network) { i.VNI = false }, "VNI 7"},
		{"subnets without addressing", func(i *drivers.Info, _ *drivers.Network) { i.Addressing = false }, "10.1.0.0/24"},
		{"zero subnet", func(_ *drivers.Info, n *drivers.Network) { n.Subnets[1] = drivers.Subnet{} }, "not an address range"},
		{"mapped", subnet(0, "::ffff:10.1.0.0/120", ""), "::ffff:10.1.0.0/120"},
		{"IPv4 host bits", subnet(0, "10.1.0.7/24", ""), "10.1.0.7/24"},
		{"IPv6 host bits", subnet(1, "fd01::7/64", ""), "fd01::7/64"},
		{"IPv4 gateway outside", subnet(0, "10.1.0.0/24", "10.2.0.1"), "10.2.0.1"},
		{"IPv6 gateway outside", subnet(1, "fd01::/64", "fd02::1"), "fd02::1"},
		{"gateway of the other family", subnet(0, "10.1.0.0/24", "fd01::1"), "fd01::1"},
		{"gateway with a zone", subnet(1, "fd01::/64", "fd01::1%eth0"), "fd01::1%eth0"},
		{"the same subnet twice", subnet(1, "10.1.0.0/24", ""), "overlaps 10.1.0.0/24"},
		{"one inside the other", subnet(1, "10.0.0.0/8", ""), "overlaps 10.1.0.0/24"},
	} {
		info, n := overlay, dual()
		c.spoil(&info, &n)
		err := info.Validate(n)
		if c.names == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), "net1") {
			t.Errorf("%s: %v, want ErrInvalid that names net1 and %q", c.name, err, c.names)
		}
	}
}

func TestValidateEndpoint(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*drivers.Endpoint)
		names string // empty: accepted
	}{
		{"as it is", func(*drivers.Endpoint) {}, ""},
		{"one family", func(ep *drivers.Endpoint) { ep.Addrs = ep.Addrs[:1] }, ""},
		{"no address", func(ep *drivers.Endpoint) { ep.Addrs = nil }, ""},
		{"no ID", func(ep *drivers.Endpoint) { ep.ID = "" }, "no ID"},
		{"no MAC", func(ep *drivers.Endpoint) { ep.MAC = drivers.MAC{} }, "MAC"},
		{"multicast MAC", func(ep *drivers.Endpoint) { ep.MAC[0] |= 1 }, "03:42:00:00:00:02"},
		{"another network", func(ep *drivers.Endpoint) { ep.Network = "net2" }, "net2"},
		{"outside", func(ep *drivers.Endpoint) { ep.Addrs[0] = netip.MustParsePrefix("10.2.0.2/24") }, "10.2.0.2/24"},
		{"another length", func(ep *drivers.Endpoint) { ep.Addrs[1] = netip.MustParsePrefix("fd01::2/65") }, "fd01::2/65"},
		{"IPv4 gateway", func(ep *drivers.Endpoint) { ep.Addrs[0] = netip.MustParsePrefix("10.1.0.1/24") }, "gateway"},
		{"IPv6 gateway", func(ep *drivers.Endpoint) { ep.Addrs[1] = netip.MustParsePrefix("fd01::1/64") }, "gateway"},
	} {
		ep := drivers.Endpoint{ID: "ep1", Network: "net1", MAC: drivers.MAC{2, 0x42, 0, 0, 0, 2}, Addrs: []netip.Prefix{
			netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd01::2/64"),
		}}
		c.spoil(&ep)
		err := dual().ValidateEndpoint(ep)
		if c.names == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		} else if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v, want ErrInvalid that names %q", c.name, err, c.names)
		}
	}
}

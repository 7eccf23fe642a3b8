package libcnm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libcnm/libcnm"
)

// TestSubnetKinds makes a network of each kind of subnet and takes all its addresses.
func TestSubnetKinds(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	for i, tc := range []struct {
		subnet, gateway string
		opts            []libcnm.SubnetOption
		want            []string // all of them, or the first if more follow
		more            bool
	}{
		{"10.50.0.0/29", "10.50.0.1", nil, []string{"10.50.0.2", "10.50.0.3", "10.50.0.4", "10.50.0.5", "10.50.0.6"}, false},
		{"10.50.1.0/30", "10.50.1.1", nil, []string{"10.50.1.2"}, false},
		{"10.50.2.0/31", "10.50.2.0", nil, []string{"10.50.2.1"}, false}, // RFC 3021
		{"10.50.3.4/32", "invalid IP", nil, []string{"10.50.3.4"}, false},
		{"fd50:2::/127", "fd50:2::", nil, []string{"fd50:2::1"}, false}, // RFC 6164
		{"fd50:3::5/128", "invalid IP", nil, []string{"fd50:3::5"}, false},
		{"fd50:4::/126", "fd50:4::1", nil, []string{"fd50:4::2", "fd50:4::3"}, false},
		{"fd50:5::/64", "fd50:5::1", nil, []string{"fd50:5::2", "fd50:5::3"}, true},
		{"10.50.8.0/24", "10.50.8.254", []libcnm.SubnetOption{
			libcnm.SubnetGateway(addr("10.50.8.254")), libcnm.SubnetRange(prefix("10.50.8.128/30")),
			libcnm.SubnetReserve("router", addr("10.50.8.129")),
		}, []string{"10.50.8.128", "10.50.8.130", "10.50.8.131"}, false},
	} {
		t.Run(tc.subnet, func(t *testing.T) {
			n := newNetwork(t, c, fmt.Sprint("n", i), libcnm.WithSubnet(prefix(tc.subnet), tc.opts...))
			if got := n.Subnets()[0].Gateway.String(); got != tc.gateway {
				t.Errorf("gateway = %s, want %s", got, tc.gateway)
			}
			for k, want := range tc.want {
				ep := newEndpoint(t, n, fmt.Sprint("ep", k))
				if got := ep.Info().Addresses[0]; got.Addr().String() != want || got.Bits() != prefix(tc.subnet).Bits() {
					t.Errorf("address %d = %s, want %s with the subnet's length", k+1, got, want)
				}
			}
			_, err := n.CreateEndpoint(ctx, "more")
			if tc.more {
				must(t, err)
				return
			}
			wantErr(t, err, libcnm.ErrExhausted, tc.subnet, fmt.Sprint(len(tc.want)))
			_, err = n.CreateEndpoint(ctx, "ep0") // repeated, because its answer was lost
			wantErr(t, err, libcnm.ErrExists)
		})
	}
}

func TestDefaultSubnets(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1", libcnm.WithAddressPools(
		libcnm.AddressPool{Base: prefix("10.60.0.0/22"), Size: 24},
		libcnm.AddressPool{Base: prefix("fd60::/62"), Size: 64},
	)).open(t)
	subnets := func(n *libcnm.Network) string {
		var list []string
		for _, s := range n.Subnets() {
			list = append(list, s.Prefix.String())
		}
		return strings.Join(list, " ")
	}
	for i, tc := range []struct {
		opts []libcnm.NetworkOption
		want string
	}{
		{nil, "10.60.0.0/24 fd60::/64"},
		{nil, "10.60.1.0/24 fd60:0:0:1::/64"},
		{[]libcnm.NetworkOption{libcnm.WithSubnetSize(28), libcnm.WithoutIPv6()}, "10.60.2.0/28"},
		{[]libcnm.NetworkOption{libcnm.WithSubnetSize(28)}, "10.60.2.16/28 fd60:0:0:2::/64"},
		{nil, "10.60.3.0/24 fd60:0:0:3::/64"},
	} {
		if got := subnets(newNetwork(t, c, fmt.Sprint("n", i), tc.opts...)); got != tc.want {
			t.Errorf("network %d has %s, want %s", i, got, tc.want)
		}
	}
	_, err := c.NewNetwork(ctx, "fake", "full")
	wantErr(t, err, libcnm.ErrExhausted, "10.60.0.0/22")
	must(t, mustNetwork(t, c, "n1").Delete(ctx))
	if got := subnets(newNetwork(t, c, "again")); got != "10.60.1.0/24 fd60:0:0:1::/64" {
		t.Errorf("after a delete the new network has %s", got)
	}
}

// TestOverlayNetworksMayOverlap: networks that are kept apart may use each other's subnets, if they are told to.
func TestOverlayNetworksMayOverlap(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	same := libcnm.WithSubnet(prefix("10.61.0.0/24"))
	for _, name := range []string{"blue", "green"} {
		n, err := c.NewNetwork(ctx, "fakenet", name, same)
		must(t, err)
		if a := newEndpoint(t, n, "a").Info().Addresses[0]; a != prefix("10.61.0.2/24") {
			t.Errorf("first address of %s is %s", name, a)
		}
	}
	first, err := c.NewNetwork(ctx, "fakenet", "chosen", libcnm.WithVNI(77))
	must(t, err)
	if first.VNI() != 77 {
		t.Errorf("VNI = %d, want 77", first.VNI())
	}
	_, err = c.NewNetwork(ctx, "fakenet", "again", libcnm.WithVNI(77))
	wantErr(t, err, libcnm.ErrExists, "77", "chosen")
}

package veths

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

func TestAttachment(t *testing.T) {
	subnet := func(prefix, gateway string) drivers.Subnet {
		s := drivers.Subnet{Prefix: netip.MustParsePrefix(prefix)}
		if gateway != "" {
			s.Gateway = netip.MustParseAddr(gateway)
		}
		return s
	}
	blue4, blue6 := subnet("10.1.0.0/24", "10.1.0.1"), subnet("fd01::/64", "fd01::1")
	red4, red6 := subnet("10.2.0.0/24", "10.2.0.1"), subnet("fd02::/64", "fd02::1")
	mute4 := subnet("10.3.0.0/24", "")
	for _, c := range []struct {
		name     string
		subnets  []drivers.Subnet
		addrs    []string
		internal bool
		gateways string
		routes   string
	}{
		{name: "dual stack", subnets: []drivers.Subnet{blue4, blue6}, addrs: []string{"10.1.0.2/24", "fd01::2/64"}, gateways: "[10.1.0.1 fd01::1]", routes: "[]"},
		{name: "gateways by family, whatever the order", subnets: []drivers.Subnet{blue6, blue4}, addrs: []string{"fd01::2/64", "10.1.0.2/24"}, gateways: "[10.1.0.1 fd01::1]", routes: "[]"},
		{name: "of its own subnets only", subnets: []drivers.Subnet{blue4, red4, blue6, red6}, addrs: []string{"10.2.0.2/24", "fd02::2/64"}, gateways: "[10.2.0.1 fd02::1]", routes: "[10.1.0.0/24 fd01::/64]"},
		{name: "one per family", subnets: []drivers.Subnet{blue4, red4}, addrs: []string{"10.1.0.2/24", "10.2.0.2/24"}, gateways: "[10.1.0.1]", routes: "[]"},
		{name: "the first that there is", subnets: []drivers.Subnet{mute4, blue4}, addrs: []string{"10.1.0.2/24", "10.3.0.2/24"}, gateways: "[10.1.0.1]", routes: "[]"},
		{name: "none where it has no address", subnets: []drivers.Subnet{blue4, blue6}, addrs: []string{"10.1.0.2/24"}, gateways: "[10.1.0.1]", routes: "[]"},
		{name: "internal", subnets: []drivers.Subnet{blue4, red4}, addrs: []string{"10.1.0.2/24"}, internal: true, gateways: "[]", routes: "[10.2.0.0/24]"},
	} {
		ep := drivers.Endpoint{Interface: "eth7"}
		for _, a := range c.addrs {
			ep.Addrs = append(ep.Addrs, netip.MustParsePrefix(a))
		}
		got := Attachment(drivers.Network{Subnets: c.subnets, Internal: c.internal}, ep, 1400)
		routes := make([]netip.Prefix, len(got.Routes))
		for i, r := range got.Routes {
			routes[i] = r.Dst
			if r.Via.IsValid() {
				t.Errorf("%s: neighbours %s by way of %s", c.name, r.Dst, r.Via)
			}
		}
		if got.Interface != "eth7" || got.MTU != 1400 || fmt.Sprint(got.Gateways) != c.gateways || fmt.Sprint(routes) != c.routes {
			t.Errorf("%s: %+v, want gateways %s and routes to %s", c.name, got, c.gateways, c.routes)
		}
	}
}

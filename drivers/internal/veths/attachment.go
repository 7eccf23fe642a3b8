package veths

import (
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// Attachment is what an endpoint is told of a network that is one segment: the first gateway of each family in its own
// subnets, and the network's other subnets as neighbours.
func Attachment(n drivers.Network, ep drivers.Endpoint, mtu int) drivers.Attachment {
	a := drivers.Attachment{Interface: ep.Interface, MTU: mtu}
	for _, is4 := range []bool{true, false} {
		var (
			gateway    netip.Addr
			member     bool
			neighbours []drivers.Route
		)
		for _, s := range n.Subnets {
			if s.Prefix.Addr().Is4() != is4 {
				continue
			}
			if !slices.ContainsFunc(ep.Addrs, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) }) {
				neighbours = append(neighbours, drivers.Route{Dst: s.Prefix})
				continue
			}
			member = true
			if !gateway.IsValid() {
				gateway = s.Gateway
			}
		}
		if gateway.IsValid() && !n.Internal {
			a.Gateways = append(a.Gateways, gateway)
		}
		if member {
			a.Routes = append(a.Routes, neighbours...)
		}
	}
	return a
}

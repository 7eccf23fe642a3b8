package rig

import (
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

// Outside is the world beyond this host, which has its default routes there.
type Outside struct {
	Box
	Uplink []netip.Addr // this host's, IPv4 and IPv6, on the link up0
}

// NewOutside makes it with routes back to the given prefixes, so that only the firewall can keep it out of them.
func NewOutside(t testutil.TB, back ...netip.Prefix) Outside {
	t.Helper()
	o := Outside{
		Box:    Box{NS: testutil.NewNS(t), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8::2")}},
		Uplink: []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")},
	}
	home := testutil.HomeNS(t)
	for _, ns := range []*testutil.NS{home, o.NS} {
		// A router asks for neighbours from its link-local address, which detecting duplicates holds up for two seconds.
		ns.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	}
	testutil.Connect(t, home, "up0", o.NS, "up0")
	for i, bits := range []int{24, 64} {
		home.AddAddr(t, "up0", netip.PrefixFrom(o.Uplink[i], bits))
		o.AddAddr(t, "up0", netip.PrefixFrom(o.Addrs[i], bits))
		home.AddRoute(t, netip.Prefix{}, o.Addrs[i])
	}
	for _, p := range back {
		via := o.Uplink[0]
		if p.Addr().Is6() {
			via = o.Uplink[1]
		}
		o.AddRoute(t, p, via)
	}
	t.Cleanup(func() { OnLink(t, "up0", netlink.LinkDel) })
	return o
}

package bridge

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		var sandboxes []string
		return drivertest.Host{
			Open: func() (drivers.Driver, error) { return New(Config{Firewall: newFirewall(tb)}) },
			NewSandbox: func() drivertest.Sandbox {
				path := newPath(tb)
				sandboxes = append(sandboxes, path)
				return drivertest.Sandbox{NetNS: path, Delete: func() { must(tb, link.DeleteNS(path)) }}
			},
			Dump:      func() string { return dump(tb, sandboxes...) },
			Bystander: func() func() string { return bystander(tb) },
			Damage:    damages(tb),
		}
	})
}

// bystander puts what looks like ours on the host, without the mark: a veth, a bridge, and a rule.
func bystander(tb testing.TB) func() string {
	tb.Helper()
	links := []netlink.Link{
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cnmv000000000"}, PeerName: "cnmv000000001"},
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cnmb000000000"}},
	}
	for _, l := range links {
		must(tb, netlink.LinkAdd(l))
	}
	for _, name := range []string{"cnmv000000000", "cnmv000000001", "cnmb000000000"} {
		l, err := netlink.LinkByName(name)
		must(tb, err)
		must(tb, netlink.LinkSetAlias(l, "bystander"))
	}
	rule := strings.Fields("FORWARD -i cnmb000000000 -m comment --comment bystander -j ACCEPT")
	must(tb, exec.Command("iptables", append([]string{"-A"}, rule...)...).Run())
	tb.Cleanup(func() {
		for _, l := range links {
			must(tb, netlink.LinkDel(l))
		}
		must(tb, exec.Command("iptables", append([]string{"-D"}, rule...)...).Run())
	})
	return func() string {
		out, err := exec.Command("sh", "-c", "ip -o link | grep cnm.0000; iptables-save | grep bystander").Output()
		must(tb, err)
		return string(out)
	}
}

func damages(tb testing.TB) []drivertest.Damage {
	tb.Helper()
	onLink := func(name string, do func(l netlink.Link) error) {
		l, err := netlink.LinkByName(name)
		must(tb, err)
		must(tb, do(l))
	}
	bridge := func(s drivers.NetworkState) string { return bridgeName(s.Network.ID) }
	veth := func(s drivers.NetworkState) string { return vethName(s.Network.ID, s.Endpoints[0].ID) }
	programs := func(args ...string) func(drivers.NetworkState) {
		return func(drivers.NetworkState) {
			for _, program := range []string{"iptables", "ip6tables"} {
				must(tb, exec.Command(program, args...).Run())
			}
		}
	}
	return []drivertest.Damage{
		{Name: "bridge deleted", Break: func(s drivers.NetworkState) { onLink(bridge(s), netlink.LinkDel) }},
		{Name: "bridge down", Break: func(s drivers.NetworkState) { onLink(bridge(s), netlink.LinkSetDown) }},
		{Name: "gateway address deleted", Break: func(s drivers.NetworkState) {
			onLink(bridge(s), func(l netlink.Link) error {
				addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
				must(tb, err)
				return netlink.AddrDel(l, &addrs[0])
			})
		}},
		{Name: "veth deleted", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkDel) }},
		{Name: "veth down", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkSetDown) }},
		{Name: "port taken out of the bridge", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkSetNoMaster) }},
		{Name: "MTU changed", Break: func(s drivers.NetworkState) {
			onLink(veth(s), func(l netlink.Link) error { return netlink.LinkSetMTU(l, 900) })
		}},
		{Name: "sandbox interface deleted", Break: func(s drivers.NetworkState) {
			must(tb, testutil.OpenNS(tb, s.Endpoints[0].NetNS).Do(func() error {
				l, err := netlink.LinkByName(s.Endpoints[0].Interface)
				must(tb, err)
				return netlink.LinkDel(l)
			}))
		}},
		{Name: "sandbox interface renamed", Break: func(s drivers.NetworkState) {
			must(tb, testutil.OpenNS(tb, s.Endpoints[0].NetNS).Do(func() error {
				l, err := netlink.LinkByName(s.Endpoints[0].Interface)
				must(tb, err)
				return netlink.LinkSetName(l, "other0")
			}))
		}},
		{Name: "forwarding rules flushed", Break: programs("-F", "CNM-FORWARD")},
		{Name: "NAT rules flushed", Break: programs("-t", "nat", "-F")},
	}
}

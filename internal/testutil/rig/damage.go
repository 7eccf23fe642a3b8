package rig

import (
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
)

// bystander is the alias of links that only look like a driver's.
const bystander = "bystander"

// Bystander puts what looks like a driver's on the host, without the mark: a veth, a bridge and a rule. It returns a dump
// of them alone.
func Bystander(t testutil.TB) func() string {
	t.Helper()
	links := []netlink.Link{
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cnmv000000000"}, PeerName: "cnmv000000001"},
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cnmb000000000"}},
	}
	for _, l := range links {
		Must(t, netlink.LinkAdd(l))
	}
	for _, name := range []string{"cnmv000000000", "cnmv000000001", "cnmb000000000"} {
		OnLink(t, name, func(l netlink.Link) error { return netlink.LinkSetAlias(l, bystander) })
	}
	rule := strings.Fields("FORWARD -i cnmb000000000 -m comment --comment bystander -j ACCEPT")
	Must(t, exec.Command("iptables", append([]string{"-A"}, rule...)...).Run())
	t.Cleanup(func() {
		for _, l := range links {
			Must(t, netlink.LinkDel(l))
		}
		Must(t, exec.Command("iptables", append([]string{"-D"}, rule...)...).Run())
	})
	return func() string {
		out, err := exec.Command("sh", "-c", "ip -o link | grep cnm.0000; iptables-save | grep bystander").Output()
		Must(t, err)
		return string(out)
	}
}

// OnLink does something to a link of the calling thread's namespace.
func OnLink(t testutil.TB, name string, do func(netlink.Link) error) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	Must(t, err)
	Must(t, do(l))
}

// VethDamage is what can happen to the first endpoint of a state, at both ends. veth names the host's end.
func VethDamage(t testutil.TB, veth func(drivers.NetworkState) string) []drivertest.Damage {
	t.Helper()
	outside := func(do func(netlink.Link) error) func(drivers.NetworkState) {
		return func(s drivers.NetworkState) { OnLink(t, veth(s), do) }
	}
	inside := func(do func(netlink.Link) error) func(drivers.NetworkState) {
		return func(s drivers.NetworkState) {
			Must(t, testutil.OpenNS(t, s.Endpoints[0].NetNS).Do(func() error {
				OnLink(t, s.Endpoints[0].Interface, do)
				return nil
			}))
		}
	}
	return []drivertest.Damage{
		{Name: "veth deleted", Break: outside(netlink.LinkDel)},
		{Name: "veth down", Break: outside(netlink.LinkSetDown)},
		{Name: "veth in no bridge", Break: outside(netlink.LinkSetNoMaster)},
		{Name: "MTU changed", Break: outside(func(l netlink.Link) error { return netlink.LinkSetMTU(l, 900) })},
		{Name: "sandbox interface deleted", Break: inside(netlink.LinkDel)},
		{Name: "sandbox interface renamed", Break: inside(func(l netlink.Link) error { return netlink.LinkSetName(l, "other0") })},
	}
}

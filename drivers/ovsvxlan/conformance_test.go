package ovsvxlan

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func TestConformance(t *testing.T) {
	t.Parallel() // beside tests of clusters, which are in namespaces of their own; those of newNode run before
	n := newNode(t)
	fw := new(fakeFirewall)
	n.fw, n.rules = fw, fw.dump
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		var (
			sandboxes []string
			last      *Driver
		)
		return drivertest.Host{
			Slow: true,
			Open: func() (drivers.Driver, error) {
				if last != nil {
					rig.Must(tb, last.Close()) // a process that has died no longer listens to the switch
				}
				d, err := n.open(tb)
				last = d
				return d, err
			},
			NewSandbox: func() drivertest.Sandbox {
				path := rig.NewPath(tb)
				sandboxes = append(sandboxes, path)
				return drivertest.Sandbox{NetNS: path, Delete: func() { rig.Must(tb, link.DeleteNS(path)) }}
			},
			Dump:      func() string { return n.dump(tb, sandboxes...) },
			Bystander: func() func() string { return n.bystander(tb) },
			Damage:    append(n.damages(tb), drivertest.Damage{Name: "rules flushed", Break: func(drivers.NetworkState) { fw.damage() }}),
		}
	})
}

// bystander adds to what looks like ours a port on another bridge.
func (n *node) bystander(tb testing.TB) func() string {
	tb.Helper()
	links := rig.Bystander(tb)
	n.vsctl(tb, "add-port", "br-phy", "other0", "--", "set", "interface", "other0", "type=internal", "external_ids:libcnm-like=yes")
	tb.Cleanup(func() { n.vsctl(tb, "del-port", "br-phy", "other0") })
	return func() string {
		return links() + n.vsctl(tb, "--columns=name,external_ids,ofport", "list", "interface", "other0") + n.vsctl(tb, "list-ports", "br-phy")
	}
}

func (n *node) damages(tb testing.TB) []drivertest.Damage {
	tb.Helper()
	veth := func(s drivers.NetworkState) string { return veths.Name(s.Network.ID, s.Endpoints[0].ID) }
	onLink := func(name string, do func(netlink.Link) error) func(drivers.NetworkState) {
		return func(drivers.NetworkState) { rig.OnLink(tb, name, do) }
	}
	mgmt := n.ovs.RunDir() + "/cnm-int.mgmt"
	damages := append(rig.VethDamage(tb, veth),
		drivertest.Damage{Name: "bridge deleted", Break: func(drivers.NetworkState) { n.vsctl(tb, "del-br", "cnm-int") }},
		drivertest.Damage{Name: "port deleted", Break: func(s drivers.NetworkState) { n.vsctl(tb, "del-port", "cnm-int", veth(s)) }},
		drivertest.Damage{Name: "tunnel deleted", Break: func(drivers.NetworkState) { n.vsctl(tb, "del-port", "cnm-int", "cnm-int-vxlan") }},
		drivertest.Damage{Name: "flows deleted", Break: func(drivers.NetworkState) { n.ofctl(tb, "del-flows", mgmt) }},
		drivertest.Damage{Name: "groups deleted", Break: func(drivers.NetworkState) { n.ofctl(tb, "del-groups", mgmt) }},
		drivertest.Damage{Name: "gateway deleted", Break: onLink(gatewayHost, netlink.LinkDel)},
		drivertest.Damage{Name: "gateway without its IPv4 address", Break: onLink(gatewayHost, func(l netlink.Link) error {
			addr, err := netlink.ParseAddr(netip.PrefixFrom(DefaultTransit4.Addr().Next(), 18).String())
			rig.Must(tb, err)
			return netlink.AddrDel(l, addr)
		})},
	)
	if testutil.KernelDatapath() { // there is no sink, and only Open vSwitch can take a port out of its datapath
		return slices.DeleteFunc(damages, func(d drivertest.Damage) bool { return d.Name == "veth in no bridge" })
	}
	return append(damages, drivertest.Damage{Name: "sink up", Break: onLink(sinkName, netlink.LinkSetUp)})
}

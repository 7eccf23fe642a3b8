package ovsvxlan

import (
	"net/netip"
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
	n := newNode(t)
	fw := new(fakeFirewall)
	n.fw, n.rules = fw, fw.dump
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		var (
			sandboxes []string
			last      *Driver
		)
		return drivertest.Host{
			Open: func() (drivers.Driver, error) {
				if last != nil {
					must(tb, last.Close()) // a process that has died no longer listens to the switch
				}
				d, err := n.open(tb)
				last = d
				return d, err
			},
			NewSandbox: func() drivertest.Sandbox {
				path := newPath(tb)
				sandboxes = append(sandboxes, path)
				return drivertest.Sandbox{NetNS: path, Delete: func() { must(tb, link.DeleteNS(path)) }}
			},
			Dump:      func() string { return n.dump(tb, sandboxes...) },
			Bystander: func() func() string { return n.bystander(tb) },
			Damage:    append(n.damages(tb), drivertest.Damage{Name: "rules flushed", Break: func(drivers.NetworkState) { fw.damage() }}),
		}
	})
}

// bystander puts what looks like ours on the host, without the mark: a veth, a port on another bridge, and a rule.
func (n *node) bystander(tb testing.TB) func() string {
	tb.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cnmv000000000"}, PeerName: "cnmv000000001"}
	must(tb, netlink.LinkAdd(pair))
	for _, name := range []string{"cnmv000000000", "cnmv000000001"} {
		l, err := netlink.LinkByName(name)
		must(tb, err)
		must(tb, netlink.LinkSetAlias(l, "bystander"))
	}
	n.vsctl(tb, "add-port", "br-phy", "other0", "--", "set", "interface", "other0", "type=internal", "external_ids:libcnm-like=yes")
	rule := strings.Fields("FORWARD -i cnmb000000000 -m comment --comment bystander -j ACCEPT")
	must(tb, exec.Command("iptables", append([]string{"-A"}, rule...)...).Run())
	tb.Cleanup(func() {
		must(tb, netlink.LinkDel(pair))
		n.vsctl(tb, "del-port", "br-phy", "other0")
		must(tb, exec.Command("iptables", append([]string{"-D"}, rule...)...).Run())
	})
	return func() string {
		out, err := exec.Command("sh", "-c", "ip -o link | grep cnm.0000; iptables-save | grep bystander").Output()
		must(tb, err)
		return string(out) + n.vsctl(tb, "--columns=name,external_ids,ofport", "list", "interface", "other0") + n.vsctl(tb, "list-ports", "br-phy")
	}
}

func (n *node) damages(tb testing.TB) []drivertest.Damage {
	tb.Helper()
	onLink := func(name string, do func(l netlink.Link) error) {
		l, err := netlink.LinkByName(name)
		must(tb, err)
		must(tb, do(l))
	}
	veth := func(s drivers.NetworkState) string { return vethName(s.Network.ID, s.Endpoints[0].ID) }
	mgmt := n.ovs.RunDir() + "/cnm-int.mgmt"
	return []drivertest.Damage{
		{Name: "bridge deleted", Break: func(drivers.NetworkState) { n.vsctl(tb, "del-br", "cnm-int") }},
		{Name: "port deleted", Break: func(s drivers.NetworkState) { n.vsctl(tb, "del-port", "cnm-int", veth(s)) }},
		{Name: "tunnel deleted", Break: func(drivers.NetworkState) { n.vsctl(tb, "del-port", "cnm-int", "cnm-int-vxlan") }},
		{Name: "flows deleted", Break: func(drivers.NetworkState) { n.ofctl(tb, "del-flows", mgmt) }},
		{Name: "groups deleted", Break: func(drivers.NetworkState) { n.ofctl(tb, "del-groups", mgmt) }},
		{Name: "veth deleted", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkDel) }},
		{Name: "veth down", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkSetDown) }},
		{Name: "veth out of the sink", Break: func(s drivers.NetworkState) { onLink(veth(s), netlink.LinkSetNoMaster) }},
		{Name: "sink up", Break: func(drivers.NetworkState) { onLink(sinkName, netlink.LinkSetUp) }},
		{Name: "gateway deleted", Break: func(drivers.NetworkState) { onLink(gatewayHost, netlink.LinkDel) }},
		{Name: "gateway without its IPv4 address", Break: func(drivers.NetworkState) {
			onLink(gatewayHost, func(l netlink.Link) error {
				addr, err := netlink.ParseAddr(netip.PrefixFrom(DefaultTransit4.Addr().Next(), 18).String())
				must(tb, err)
				return netlink.AddrDel(l, addr)
			})
		}},
		{Name: "sandbox interface deleted", Break: func(s drivers.NetworkState) {
			must(tb, testutil.OpenNS(tb, s.Endpoints[0].NetNS).Do(func() error {
				l, err := netlink.LinkByName(s.Endpoints[0].Interface)
				must(tb, err)
				return netlink.LinkDel(l)
			}))
		}},
	}
}

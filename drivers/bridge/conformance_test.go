package bridge

import (
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		var sandboxes []string
		return drivertest.Host{
			Slow: true, // most calls run iptables-restore
			Open: func() (drivers.Driver, error) { return New(Config{Firewall: rig.NewFirewall(tb)}) },
			NewSandbox: func() drivertest.Sandbox {
				path := rig.NewPath(tb)
				sandboxes = append(sandboxes, path)
				return drivertest.Sandbox{NetNS: path, Delete: func() { rig.Must(tb, link.DeleteNS(path)) }}
			},
			Dump:      func() string { return dump(tb, sandboxes...) },
			Bystander: func() func() string { return rig.Bystander(tb) },
			Damage:    damages(tb),
		}
	})
}

func damages(tb testing.TB) []drivertest.Damage {
	tb.Helper()
	bridge := func(do func(netlink.Link) error) func(drivers.NetworkState) {
		return func(s drivers.NetworkState) { rig.OnLink(tb, bridgeName(s.Network.ID), do) }
	}
	programs := func(args ...string) func(drivers.NetworkState) {
		return func(drivers.NetworkState) {
			for _, program := range []string{"iptables", "ip6tables"} {
				rig.Must(tb, exec.Command(program, args...).Run())
			}
		}
	}
	return append(rig.VethDamage(tb, func(s drivers.NetworkState) string { return veths.Name(s.Network.ID, s.Endpoints[0].ID) }),
		drivertest.Damage{Name: "bridge deleted", Break: bridge(netlink.LinkDel)},
		drivertest.Damage{Name: "bridge down", Break: bridge(netlink.LinkSetDown)},
		drivertest.Damage{Name: "gateway address deleted", Break: bridge(func(l netlink.Link) error {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			rig.Must(tb, err)
			return netlink.AddrDel(l, &addrs[0])
		})},
		drivertest.Damage{Name: "forwarding rules flushed", Break: programs("-F", "CNM-FORWARD")},
		drivertest.Damage{Name: "routing rules flushed", Break: func(drivers.NetworkState) {
			for _, family := range []string{"-4", "-6"} {
				rig.Must(tb, exec.Command("ip", family, "rule", "del", "priority", "5208").Run())
			}
		}},
		drivertest.Damage{Name: "NAT rules flushed", Break: programs("-t", "nat", "-F")},
	)
}

package link

import (
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A peer that is raised gives the first end its carrier, says nothing by IPv6, and is as right as another. Making sure of the
// pair once more leaves the IPv6 of a configured peer alone.
func TestEnsureVethRaisesPeer(t *testing.T) {
	host, inside, v := pair(t)
	v.Peer.Up, v.Promiscuous = true, true
	must(t, host.EnsureVeth(t.Context(), v))
	if there := mustLink(t, inside, "eth0"); !there.Up {
		t.Errorf("sandbox end: %+v, want it up", there)
	}
	must(t, host.WaitUp(t.Context(), v.Name))
	must(t, host.inside(func() error {
		l, err := netlink.LinkByName(v.Name)
		if err == nil && l.Attrs().RawFlags&unix.IFF_PROMISC == 0 {
			t.Errorf("host end has flags %#x, want it promiscuous", l.Attrs().RawFlags)
		}
		return err
	}))
	ipv6Off := func() (value string) {
		t.Helper()
		must(t, inside.inside(func() error {
			raw, err := os.ReadFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
			value = string(raw)
			return err
		}))
		return value
	}
	if got := ipv6Off(); got != "1\n" {
		t.Errorf("disable_ipv6 is %q before it is configured", got)
	}
	must(t, inside.Configure(t.Context(), Interface{Name: "eth0", MTU: 1400, Up: true, Addrs: prefixes("10.0.0.2/24", "fd00::2/64")}))
	must(t, host.EnsureVeth(t.Context(), v))
	if got := ipv6Off(); got != "0\n" {
		t.Errorf("disable_ipv6 is %q of a configured interface", got)
	}
	diffs, err := host.CheckVeth(t.Context(), v)
	if err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
}

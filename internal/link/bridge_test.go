package link

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func testBridge() Bridge {
	return Bridge{
		Name: "cnmb1", Alias: owner.String(), MAC: mac(1), MTU: 1400,
		Addrs: prefixes("10.1.0.1/24", "fd00:1::1/64"),
	}
}

func TestEnsureBridge(t *testing.T) {
	_, host := sandbox(t)
	b := testBridge()
	diffs, err := host.CheckBridge(t.Context(), b)
	if err != nil || len(diffs) != 1 {
		t.Errorf("check before: %v\n%s", err, lines(diffs))
	}
	for range 2 {
		must(t, host.EnsureBridge(t.Context(), b))
	}
	if diffs, err = host.CheckBridge(t.Context(), b); err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
	l := mustLink(t, host, b.Name)
	if l.MAC.String() != b.MAC.String() || l.MTU != 1400 || !l.Up || l.Kind != "bridge" {
		t.Errorf("bridge: %+v", l)
	}
	plain(t, host, "a", "b") // a port with a lower MAC and MTU must not change the bridge's
	must(t, host.use(t.Context(), func(c *conn) error {
		port, err := c.LinkByName("a")
		return errors.Join(err, c.LinkSetHardwareAddr(port, []byte{0, 0, 0, 0, 0, 1}), c.LinkSetMasterByIndex(port, l.Index),
			c.LinkSetMTU(port, 900))
	}))
	if again := mustLink(t, host, b.Name); again.MAC.String() != b.MAC.String() || again.Index != l.Index || again.MTU != 1400 {
		t.Errorf("with a port: %+v", again)
	}
}

func TestBridgeWithoutIPv6AndDown(t *testing.T) {
	_, host := sandbox(t)
	b := testBridge()
	b.Addrs, b.Down = prefixes("10.1.0.1/24"), true
	must(t, host.EnsureBridge(t.Context(), b))
	if off, err := host.Sysctl(t.Context(), "net.ipv6.conf.cnmb1.disable_ipv6"); err != nil || off != "1" {
		t.Errorf("disable_ipv6 = %q, %v", off, err)
	}
	if mustLink(t, host, b.Name).Up {
		t.Error("the bridge is up")
	}
	// The other way round it is enabled again.
	must(t, host.EnsureBridge(t.Context(), testBridge()))
	diffs, err := host.CheckBridge(t.Context(), testBridge())
	if err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
}

func TestEnsureBridgeRepairs(t *testing.T) {
	cases := map[string]struct {
		damage func(c *conn, l netlink.Link) error
		object string
	}{
		"down":            {func(c *conn, l netlink.Link) error { return c.LinkSetDown(l) }, "link cnmb1"},
		"mtu":             {func(c *conn, l netlink.Link) error { return c.LinkSetMTU(l, 1300) }, "mtu"},
		"tiny mtu":        {func(c *conn, l netlink.Link) error { return c.LinkSetMTU(l, 900) }, "IPv6"},
		"MAC":             {func(c *conn, l netlink.Link) error { return c.LinkSetHardwareAddr(l, mac(7)) }, "address"},
		"unfinished":      {func(c *conn, l netlink.Link) error { return c.LinkSetAlias(l, "") }, "alias"},
		"address gone":    {func(c *conn, l netlink.Link) error { return c.AddrDel(l, addr("10.1.0.1/24")) }, "address 10.1.0.1/24"},
		"address 6 gone":  {func(c *conn, l netlink.Link) error { return c.AddrDel(l, addr("fd00:1::1/64")) }, "address fd00:1::1/64"},
		"address surplus": {func(c *conn, l netlink.Link) error { return c.AddrAdd(l, addr("10.9.0.1/24")) }, "address 10.9.0.1/24"},
		"listens to RAs": {func(*conn, netlink.Link) error {
			return writeSysctl("net.ipv6.conf.cnmb1.accept_ra", "2")
		}, "accept_ra"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, host := sandbox(t)
			b := testBridge()
			must(t, host.EnsureBridge(t.Context(), b))
			index := mustLink(t, host, b.Name).Index
			must(t, host.use(t.Context(), func(k *conn) error {
				l, err := k.LinkByName(b.Name)
				return errors.Join(err, host.inside(func() error { return c.damage(k, l) }))
			}))
			diffs, err := host.CheckBridge(t.Context(), b)
			if err != nil || !strings.Contains(lines(diffs), c.object) {
				t.Errorf("check: %v, want a difference that names %q, got\n%s", err, c.object, lines(diffs))
			}
			must(t, host.EnsureBridge(t.Context(), b))
			if diffs, err = host.CheckBridge(t.Context(), b); err != nil || len(diffs) != 0 {
				t.Errorf("check after repair: %v\n%s", err, lines(diffs))
			}
			if mustLink(t, host, b.Name).Index != index {
				t.Error("the bridge was replaced, and its ports lost")
			}
		})
	}
}

func addr(text string) *netlink.Addr {
	a, err := netlink.ParseAddr(text)
	if err != nil {
		panic(err)
	}
	return a
}

func TestEnsureBridgeLeavesNamesakesAlone(t *testing.T) {
	_, host := sandbox(t)
	b := testBridge()
	plain(t, host, b.Name, "other")
	before := fmt.Sprint(mustLink(t, host, b.Name))
	if err := host.EnsureBridge(t.Context(), b); !errors.Is(err, errdefs.ErrConflict) {
		t.Errorf("ensure: %v, want ErrConflict", err)
	}
	must(t, host.DeleteLink(t.Context(), b.Name, b.Alias))
	diffs, err := host.CheckBridge(t.Context(), b)
	if err != nil || !strings.Contains(lines(diffs), "veth") {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
	if after := fmt.Sprint(mustLink(t, host, b.Name)); after != before {
		t.Errorf("the bystander changed:\nbefore %s\nafter  %s", before, after)
	}
	deleteAny(t, host, b.Name)
	must(t, host.EnsureBridge(t.Context(), b))
	must(t, host.DeleteLink(t.Context(), b.Name, b.Alias))
	must(t, host.DeleteLink(t.Context(), b.Name, b.Alias))
}

func TestOwnedFindsFinishedAndUnfinishedLinksOfOneDriver(t *testing.T) {
	_, host := sandbox(t)
	b := testBridge()
	must(t, host.EnsureBridge(t.Context(), b))
	plain(t, host, "cnmv0", "bystander")
	half := Veth{Name: "cnmv1", Alias: mark("half"), Peer: VethPeer{Name: "p1"}}
	must(t, host.use(t.Context(), func(c *conn) error { return c.changes.apply(half.create(0)) }))
	other := Veth{Name: "cnmv2", Alias: Owner{Driver: "test2", Network: "n", Endpoint: "e"}.String(), Peer: VethPeer{Name: "p2"}}
	must(t, host.EnsureVeth(t.Context(), other))

	owned, err := host.Owned(t.Context(), DriverMark("test"))
	must(t, err)
	var names []string
	for _, l := range owned {
		names = append(names, l.Name)
	}
	if got, want := fmt.Sprint(names), "[cnmb1 cnmv1]"; got != want {
		t.Errorf("owned: %s, want %s", got, want)
	}
	must(t, host.DeleteLink(t.Context(), "cnmv1", mark("half")))
	must(t, host.DeleteLink(t.Context(), "cnmv0", mark("half")))
	mustLink(t, host, "cnmv0")
}

package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func TestConfigureMakesExactlyTheseAddresses(t *testing.T) {
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "x")
	i := Interface{
		Name: "eth0", MTU: 1400, Up: true, Addrs: prefixes("10.1.0.2/24", "fd00:1::2/64"),
		Sysctls: map[string]string{"net.ipv4.conf.eth0.arp_announce": "2"},
	}
	for range 2 {
		must(t, inside.Configure(t.Context(), i))
	}
	diffs, err := inside.CheckInterface(t.Context(), i)
	if err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
	if l := mustLink(t, inside, "eth0"); !l.Up || l.MTU != 1400 {
		t.Errorf("interface: %+v", l)
	}
	for key, want := range map[string]string{"accept_ra": "0", "disable_ipv6": "0"} {
		if got, err := inside.Sysctl(t.Context(), "net.ipv6.conf.eth0."+key); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %s", key, got, err, want)
		}
	}
}

func TestConfigureReachesEveryStateFromEveryOther(t *testing.T) {
	states := [][]netip.Prefix{
		nil,
		prefixes("10.1.0.2/24"),
		prefixes("10.1.0.2/24", "10.1.0.3/24", "10.1.0.4/24"),
		prefixes("10.1.0.3/24", "10.1.0.2/24"),
		prefixes("10.1.0.2/16"),
		prefixes("10.1.0.2/32", "fd00::2/128"),
		prefixes("fd00::2/64"),
		prefixes("fd00::2/80", "fd00::3/64", "169.254.7.7/16"),
		prefixes("10.1.0.2/31", "10.2.0.2/24", "fd00::2/127"),
	}
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "x")
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for step := range 150 {
		addrs := states[random.IntN(len(states))]
		i := Interface{Name: "eth0", Up: true, Addrs: addrs}
		must(t, inside.Configure(t.Context(), i))
		want := fmt.Sprint(setOf(addrs))
		if got := fmt.Sprint(addressesOf(t, inside, "eth0")); got != want {
			t.Fatalf("seed %d, step %d: have %s, want %s", seed, step, got, want)
		}
	}
}

func setOf(addrs []netip.Prefix) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, p := range addrs {
		out[p] = true
	}
	return out
}

func addressesOf(t *testing.T, h *Handle, name string) map[netip.Prefix]bool {
	t.Helper()
	out := map[netip.Prefix]bool{}
	must(t, h.use(t.Context(), func(c *conn) error {
		l, err := c.link(name)
		if err != nil {
			return err
		}
		list, err := c.addresses(l.Index)
		for _, p := range list {
			out[p] = true
		}
		return err
	}))
	return out
}

func TestConfigureDisablesIPv6WithoutAnIPv6Address(t *testing.T) {
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "x")
	i := Interface{Name: "eth0", Up: true, Addrs: prefixes("10.1.0.2/24")}
	must(t, inside.Configure(t.Context(), i))
	if off, err := inside.Sysctl(t.Context(), "net.ipv6.conf.eth0.disable_ipv6"); err != nil || off != "1" {
		t.Errorf("disable_ipv6 = %q, %v, want 1", off, err)
	}
	i.Sysctls = map[string]string{"net.ipv6.conf.eth0.disable_ipv6": "0"}
	must(t, inside.Configure(t.Context(), i))
	if off, err := inside.Sysctl(t.Context(), "net.ipv6.conf.eth0.disable_ipv6"); err != nil || off != "0" {
		t.Errorf("disable_ipv6 = %q, %v, want what the caller asked for", off, err)
	}
}

func TestCheckInterfaceNamesTheDifference(t *testing.T) {
	cases := map[string]struct {
		damage func(c *conn, l netlink.Link) error
		object string
	}{
		"down":    {func(c *conn, l netlink.Link) error { return c.LinkSetDown(l) }, "link eth0"},
		"mtu":     {func(c *conn, l netlink.Link) error { return c.LinkSetMTU(l, 1300) }, "mtu"},
		"tiny":    {func(c *conn, l netlink.Link) error { return c.LinkSetMTU(l, 900) }, "disable_ipv6"},
		"missing": {func(c *conn, l netlink.Link) error { return c.AddrDel(l, addr("10.1.0.2/24")) }, "10.1.0.2/24"},
		"surplus": {func(c *conn, l netlink.Link) error { return c.AddrAdd(l, addr("fd00:9::9/64")) }, "fd00:9::9/64"},
		"sysctl":  {func(*conn, netlink.Link) error { return writeSysctl("net.ipv6.conf.eth0.accept_ra", "1") }, "accept_ra"},
		"deleted": {func(c *conn, l netlink.Link) error { return c.LinkDel(l) }, "link eth0"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, inside := sandbox(t)
			plain(t, inside, "eth0", "x")
			i := Interface{Name: "eth0", MTU: 1400, Up: true, Addrs: prefixes("10.1.0.2/24", "fd00:1::2/64")}
			must(t, inside.Configure(t.Context(), i))
			must(t, inside.use(t.Context(), func(k *conn) error {
				l, err := k.LinkByName("eth0")
				return errors.Join(err, inside.inside(func() error { return c.damage(k, l) }))
			}))
			diffs, err := inside.CheckInterface(t.Context(), i)
			if err != nil || !strings.Contains(lines(diffs), c.object) {
				t.Errorf("check: %v, want a difference that names %q, got\n%s", err, c.object, lines(diffs))
			}
			err = inside.Configure(t.Context(), i)
			if name == "deleted" {
				if !errors.Is(err, errdefs.ErrNotFound) {
					t.Errorf("configure what is gone: %v, want ErrNotFound", err)
				}
				return
			}
			must(t, err)
			if diffs, err = inside.CheckInterface(t.Context(), i); err != nil || len(diffs) != 0 {
				t.Errorf("check after repair: %v\n%s", err, lines(diffs))
			}
		})
	}
}

func TestConfigureRefusesBadInput(t *testing.T) {
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "x")
	bad := map[string]Interface{
		"name":        {Name: "eth0;reboot"},
		"mtu":         {Name: "eth0", MTU: 65536},
		"no address":  {Name: "eth0", Addrs: []netip.Prefix{{}}},
		"multicast":   {Name: "eth0", Addrs: prefixes("224.0.0.1/24")},
		"loopback":    {Name: "eth0", Addrs: prefixes("::1/128")},
		"mapped":      {Name: "eth0", Addrs: prefixes("::ffff:10.0.0.1/120")},
		"link-local":  {Name: "eth0", Addrs: prefixes("fe80::7/64")},
		"sysctl path": {Name: "eth0", Sysctls: map[string]string{"net/../kernel/hostname": "x"}},
		"sysctl":      {Name: "eth0", Sysctls: map[string]string{"kernel.hostname": "x"}},
		"newline":     {Name: "eth0", Sysctls: map[string]string{"net.ipv4.ip_forward": "1\n0"}},
	}
	for name, i := range bad {
		i.Up = true
		if err := inside.Configure(t.Context(), i); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if mustLink(t, inside, "eth0").Up {
		t.Error("something was done")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inside.Configure(ctx, Interface{Name: "eth0", Up: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if err := inside.Configure(t.Context(), Interface{Name: "eth9"}); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent: %v, want ErrNotFound", err)
	}
}

func TestConfigureAsksForNeighboursAsOftenAsSaid(t *testing.T) {
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "x")
	i := Interface{
		Name: "eth0", Up: true, Addrs: prefixes("10.1.0.2/24", "fd00:1::2/64"), NeighbourRetry: 60 * time.Millisecond,
		Sysctls: map[string]string{"net.ipv6.neigh.eth0.mcast_solicit": "7"},
	}
	must(t, inside.Configure(t.Context(), i))
	for key, want := range map[string]string{
		"ipv4.neigh.eth0.retrans_time_ms": "60", "ipv4.neigh.eth0.mcast_solicit": "50",
		"ipv6.neigh.eth0.retrans_time_ms": "60", "ipv6.neigh.eth0.mcast_solicit": "7",
	} {
		if got, err := inside.Sysctl(t.Context(), "net."+key); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %s", key, got, err, want)
		}
	}
	must(t, inside.SetSysctl(t.Context(), "net.ipv4.neigh.eth0.retrans_time_ms", "1000"))
	diffs, err := inside.CheckInterface(t.Context(), i)
	if err != nil || len(diffs) != 1 {
		t.Errorf("check of a changed one: %v\n%s", err, lines(diffs))
	}
	for _, bad := range []time.Duration{-time.Second, time.Millisecond, time.Minute} {
		if err := inside.Configure(t.Context(), Interface{Name: "eth0", NeighbourRetry: bad}); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("retry after %s: %v", bad, err)
		}
	}
}

// TestCheckInterfaceKnowsSysctlsAsTheirFilesDo: what is told by the link message and what the file says are one thing.
func TestCheckInterfaceKnowsSysctlsAsTheirFilesDo(t *testing.T) {
	_, inside := sandbox(t)
	plain(t, inside, "eth0", "eth1")
	for _, addrs := range [][]netip.Prefix{prefixes("10.0.0.1/24"), prefixes("10.0.0.1/24", "fd00::1/64")} {
		i := Interface{Name: "eth0", Addrs: addrs, Up: true}
		must(t, inside.Configure(t.Context(), i))
		l := mustLink(t, inside, "eth0")
		told := l.told()
		if len(told) != len(devconf6) {
			t.Errorf("%d sysctls are told, want %d: %v", len(told), len(devconf6), told)
		}
		want, err := i.sysctls(l)
		must(t, err)
		if left := l.untold(want); len(left) > 0 {
			t.Errorf("with addresses %v not known from the message: %v", addrs, left)
		}
		for key, value := range told {
			for _, other := range []string{value, "1", "0"} {
				must(t, inside.SetSysctl(t.Context(), key, other))
				if have := mustLink(t, inside, "eth0").told()[key]; have != other {
					t.Errorf("%s=%s is told as %q", key, other, have)
				}
			}
			must(t, inside.SetSysctl(t.Context(), key, value))
		}
		must(t, inside.SetSysctl(t.Context(), "net.ipv6.conf.eth0.accept_ra", "2"))
		i.Sysctls = map[string]string{"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.eth0.disable_ipv6": "0"}
		must(t, inside.Configure(t.Context(), i))
		found, err := inside.CheckInterface(t.Context(), i)
		must(t, err)
		if len(found) > 0 {
			t.Errorf("with a sysctl that sets another: %v", found)
		}
		must(t, inside.SetSysctl(t.Context(), "net.ipv6.conf.all.disable_ipv6", "0"))
	}
}

package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// pair is a veth between a bridge on the host and eth0 in a fresh sandbox.
func pair(t *testing.T) (host, inside *Handle, v Veth) {
	t.Helper()
	_, host = sandbox(t)
	ns, inside := sandbox(t)
	must(t, host.EnsureBridge(t.Context(), Bridge{Name: "br", Alias: owner.String(), MAC: mac(1)}))
	return host, inside, Veth{
		Name: "cnmv1", Alias: mark("e1"), Master: "br", MTU: 1400, DisableIPv6: true, GroupForward: 0xfffd,
		Peer: VethPeer{Name: "eth0", NS: ns, MAC: mac(9), TxOff: true},
	}
}

func TestEnsureVethMakesBothEnds(t *testing.T) {
	host, inside, v := pair(t)
	must(t, host.EnsureVeth(t.Context(), v))
	here, there, bridge := mustLink(t, host, v.Name), mustLink(t, inside, "eth0"), mustLink(t, host, "br")
	if here.Alias != v.Alias || here.MTU != 1400 || !here.Up || here.Master != bridge.Index || here.Kind != "veth" {
		t.Errorf("host end: %+v", here)
	}
	if there.MAC.String() != mac(9).String() || there.MTU != 1400 || there.Up {
		t.Errorf("sandbox end: %+v, want MAC %s, MTU 1400, down", there, mac(9))
	}
	diffs, err := checked(t, host, v)
	if err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
	must(t, host.EnsureVeth(t.Context(), v))
	if again := mustLink(t, host, v.Name); again.Index != here.Index {
		t.Error("a right pair was replaced")
	}
	listed, err := host.OwnedSoon(t.Context(), DriverMark("test"))
	must(t, err)
	rename(t, host, v.Name, "other0")
	if diffs, err := host.CheckVethAmong(t.Context(), v, listed); err != nil || len(diffs) != 0 {
		t.Errorf("what a list shows to be right was asked for again: %v\n%s", err, lines(diffs))
	}
}

// checked is what CheckVeth says, and CheckVethAmong by a list of now, and by one that lacks the pair and its bridge.
func checked(t *testing.T, host *Handle, v Veth) ([]Difference, error) {
	t.Helper()
	listed, err := host.OwnedSoon(t.Context(), DriverMark("test"))
	must(t, err)
	diffs, err := host.CheckVeth(t.Context(), v)
	for name, list := range map[string][]Link{"a list": listed, "a list without it": nil} {
		among, err := host.CheckVethAmong(t.Context(), v, list)
		if err != nil || !slices.Equal(among, diffs) {
			t.Errorf("check by %s: %v\n%s, alone:\n%s", name, err, lines(among), lines(diffs))
		}
	}
	return diffs, err
}

func TestEnsureVethRepairsAndReplaces(t *testing.T) {
	cases := []struct {
		name     string
		damage   func(t *testing.T, host, inside *Handle)
		object   string // part of what CheckVeth names
		replaced bool
	}{
		{"mtu here", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1300) }), "cnmv1 mtu", false},
		{"tiny mtu", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 900) }), "cnmv1 mtu", false},
		{"mtu there", set(false, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1300) }), "eth0 mtu", false},
		{"down", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) }), "link cnmv1", false},
		{"out of the bridge", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetNoMaster(l) }), "master", false},
		{"groups kept", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetBRSlaveGroupFwdMask(l, 8) }), "cnmv1 groups", false},
		{"another MAC", set(false, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetHardwareAddr(l, mac(77)) }), "eth0 address", false},
		{"IPv6 on", func(t *testing.T, host, _ *Handle) {
			must(t, host.SetSysctl(t.Context(), "net.ipv6.conf.cnmv1.disable_ipv6", "0"))
		}, "cnmv1 IPv6", false},
		{"offload on", func(t *testing.T, _, inside *Handle) {
			must(t, inside.inside(func() error { return setTxChecksum("eth0", true) }))
		}, "eth0 checksum", false},
		{"peer renamed", func(t *testing.T, _, inside *Handle) {
			rename(t, inside, "eth0", "wan0")
		}, "peer eth0", true},
		{"peer moved away", set(false, func(h *netlink.Handle, l netlink.Link) error {
			return h.LinkSetNsPid(l, unix.Getpid())
		}), "peer eth0", true},
		{"unfinished", set(true, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetAlias(l, "") }), "link cnmv1", true},
		{"gone", func(t *testing.T, host, _ *Handle) {
			must(t, host.DeleteLink(t.Context(), "cnmv1", mark("e1")))
		}, "link cnmv1", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			host, inside, v := pair(t)
			must(t, host.EnsureVeth(t.Context(), v))
			before := mustLink(t, host, v.Name)
			c.damage(t, host, inside)
			diffs, err := checked(t, host, v)
			if err != nil || !strings.Contains(lines(diffs), c.object) {
				t.Errorf("check: %v, want a difference that names %q, got\n%s", err, c.object, lines(diffs))
			}
			must(t, host.EnsureVeth(t.Context(), v))
			diffs, err = checked(t, host, v)
			if err != nil || len(diffs) != 0 {
				t.Errorf("check after repair: %v\n%s", err, lines(diffs))
			}
			if replaced := mustLink(t, host, v.Name).Index != before.Index; replaced != c.replaced {
				t.Errorf("replaced: %v, want %v", replaced, c.replaced)
			}
		})
	}
}

// set is damage by another program.
func set(here bool, f func(*netlink.Handle, netlink.Link) error) func(*testing.T, *Handle, *Handle) {
	return func(t *testing.T, host, inside *Handle) {
		t.Helper()
		h, name := inside, "eth0"
		if here {
			h, name = host, "cnmv1"
		}
		must(t, h.use(t.Context(), func(c *conn) error {
			l, err := c.LinkByName(name)
			return errors.Join(err, f(c.Handle, l))
		}))
	}
}

func TestEnsureVethLeavesNamesakesAlone(t *testing.T) {
	t.Run("host end", func(t *testing.T) {
		host, _, v := pair(t)
		plain(t, host, v.Name, "other")
		conflict(t, host, host, v, v.Name)
	})
	t.Run("host end marked by another", func(t *testing.T) {
		host, _, v := pair(t)
		other := v
		other.Alias, other.Peer = mark("e2"), VethPeer{Name: "other"}
		must(t, host.EnsureVeth(t.Context(), other))
		conflict(t, host, host, v, v.Name)
	})
	t.Run("alternative name", func(t *testing.T) {
		host, _, v := pair(t)
		plain(t, host, "innocent", "other")
		must(t, host.use(t.Context(), func(c *conn) error {
			l, err := c.LinkByName("innocent")
			return errors.Join(err, c.LinkAddAltName(l, v.Name))
		}))
		conflict(t, host, host, v, "innocent")
		must(t, host.DeleteLink(t.Context(), v.Name, v.Alias))
		mustLink(t, host, "innocent")
	})
	t.Run("ours, renamed, its old name an alternative", func(t *testing.T) {
		host, _, v := pair(t)
		must(t, host.EnsureVeth(t.Context(), v))
		rename(t, host, v.Name, "moved")
		must(t, host.use(t.Context(), func(c *conn) error {
			l, err := c.LinkByName("moved")
			return errors.Join(err, c.LinkAddAltName(l, v.Name))
		}))
		conflict(t, host, host, v, "moved")
	})
	t.Run("sandbox end", func(t *testing.T) {
		host, inside, v := pair(t)
		plain(t, inside, "eth0", "other")
		conflict(t, host, inside, v, "eth0")
		if _, err := host.Link(t.Context(), v.Name); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("a host end was left behind: %v", err)
		}
	})
	t.Run("a namesake of the lost peer", func(t *testing.T) {
		host, inside, v := pair(t)
		must(t, host.EnsureVeth(t.Context(), v))
		rename(t, inside, "eth0", "wan0")
		plain(t, inside, "eth0", "other")
		conflict(t, host, inside, v, "eth0")
	})
}

// TestTheOtherEndIsKnownByItsNamespaceToo gives the sandbox an interface with the name, index and kind that the other
// end had before it was moved away.
func TestTheOtherEndIsKnownByItsNamespaceToo(t *testing.T) {
	host, inside, v := pair(t)
	must(t, host.EnsureVeth(t.Context(), v))
	before := mustLink(t, inside, "eth0")
	set(false, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetNsPid(l, unix.Getpid()) })(t, host, inside)
	namesake := Veth{Name: "eth0", MAC: before.MAC, MTU: before.MTU, Peer: VethPeer{Name: "x"}}.create(0)
	namesake.Data[0] = header(before.Index)
	must(t, inside.use(t.Context(), func(c *conn) error { return c.changes.apply(namesake) }))
	if at := mustLink(t, inside, "eth0").Index; at != before.Index {
		t.Fatalf("the namesake has index %d, want %d", at, before.Index)
	}
	diffs, err := checked(t, host, v)
	if err != nil || !strings.Contains(lines(diffs), "another namespace") {
		t.Errorf("check: %v, want another namespace, got\n%s", err, lines(diffs))
	}
	conflict(t, host, inside, v, "eth0")
}

func conflict(t *testing.T, host, where *Handle, v Veth, bystander string) {
	t.Helper()
	before := fmt.Sprint(mustLink(t, where, bystander))
	if err := host.EnsureVeth(t.Context(), v); !errors.Is(err, errdefs.ErrConflict) {
		t.Errorf("ensure: %v, want ErrConflict", err)
	}
	if after := fmt.Sprint(mustLink(t, where, bystander)); after != before {
		t.Errorf("the bystander changed:\nbefore %s\nafter  %s", before, after)
	}
}

func TestEnsureVethInOneNamespace(t *testing.T) {
	_, host := sandbox(t)
	v := Veth{
		Name: "gw0", Alias: Owner{Driver: "test", Role: "gateway"}.String(), MAC: mac(5), TxOff: true,
		Peer: VethPeer{Name: "gw1", DisableIPv6: true, TxOff: true},
	}
	for range 2 {
		must(t, host.EnsureVeth(t.Context(), v))
	}
	diffs, err := checked(t, host, v)
	if err != nil || len(diffs) != 0 {
		t.Errorf("check: %v\n%s", err, lines(diffs))
	}
}

func TestVethRefusesBadInput(t *testing.T) {
	_, host := sandbox(t)
	good := Veth{Name: "cnmv1", Alias: mark("e1"), Peer: VethPeer{Name: "eth0"}}
	bad := map[string]func(*Veth){
		"no name":       func(v *Veth) { v.Name = "" },
		"pattern":       func(v *Veth) { v.Name = "x%d" },
		"wildcard":      func(v *Veth) { v.Peer.Name = "eth+" },
		"long":          func(v *Veth) { v.Peer.Name = "sixteen-letters-" },
		"master":        func(v *Veth) { v.Master = "br/0" },
		"no mark":       func(v *Veth) { v.Alias = "mine" },
		"multicast MAC": func(v *Veth) { v.Peer.MAC = []byte{1, 2, 3, 4, 5, 6} },
		"small MTU":     func(v *Veth) { v.MTU = 67 },
		"pause frames":  func(v *Veth) { v.Master, v.GroupForward = "br", 0xffff },
		"no bridge":     func(v *Veth) { v.GroupForward = 1 },
	}
	for name, spoil := range bad {
		v := good
		spoil(&v)
		if err := host.EnsureVeth(t.Context(), v); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	v := good
	v.Master = "absent"
	if err := host.EnsureVeth(t.Context(), v); !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("absent bridge: %v, want ErrNotFound that names it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := host.EnsureVeth(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	links, err := host.Owned(t.Context(), DriverMark("test"))
	if err != nil || len(links) != 0 {
		t.Errorf("links were made: %v, %v", links, err)
	}
}

func TestManyVethsInParallel(t *testing.T) {
	const n = 64
	_, host := sandbox(t)
	must(t, host.EnsureBridge(t.Context(), Bridge{Name: "br", Alias: owner.String(), MAC: mac(1)}))
	var namespaces [n]*NS
	for i := range namespaces {
		namespaces[i], _ = sandbox(t)
	}
	var group errgroup.Group
	for i, ns := range namespaces {
		group.Go(func() error {
			v := Veth{
				Name: fmt.Sprintf("cnmv%d", i), Alias: mark(fmt.Sprint(i)), Master: "br",
				Peer: VethPeer{Name: "eth0", NS: ns, MAC: mac(byte(i))},
			}
			return host.EnsureVeth(t.Context(), v)
		})
	}
	must(t, group.Wait())
	owned, err := host.Owned(t.Context(), DriverMark("test"))
	if err != nil || len(owned) != n+1 {
		t.Errorf("%d links, want %d and a bridge: %v", len(owned), n, err)
	}
	for i := range namespaces {
		group.Go(func() error {
			return host.DeleteLink(t.Context(), fmt.Sprintf("cnmv%d", i), mark(fmt.Sprint(i)))
		})
	}
	must(t, group.Wait())
	if owned, err := host.Owned(t.Context(), DriverMark("test")); err != nil || len(owned) != 1 {
		t.Errorf("left: %v, %v", owned, err)
	}
}

// Whoever looks at a pair while it comes and goes sees it or does not.
func TestCheckVethWhileItComesAndGoes(t *testing.T) {
	const times, observers = 10, 8
	host, _, v := pair(t)
	ctx, stop := context.WithCancel(t.Context())
	var group errgroup.Group
	for range observers {
		group.Go(func() error {
			for ctx.Err() == nil {
				if _, err := host.CheckVeth(t.Context(), v); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range times {
		must(t, host.EnsureVeth(t.Context(), v))
		must(t, host.DeleteLink(t.Context(), v.Name, v.Alias))
	}
	stop()
	must(t, group.Wait())
}

func TestFullBridgeIsExhausted(t *testing.T) {
	const ports = 1023
	_, host := sandbox(t)
	must(t, host.EnsureBridge(t.Context(), Bridge{Name: "br", Alias: owner.String(), MAC: mac(1)}))
	bridge := mustLink(t, host, "br").Index
	make := func(i int) error {
		// Both ends are ports, which needs half the pairs.
		v := Veth{Name: fmt.Sprintf("a%d", i), Alias: mark(fmt.Sprint(i)), Peer: VethPeer{Name: fmt.Sprintf("b%d", i)}}
		return host.use(t.Context(), func(c *conn) error {
			if err := c.changes.apply(v.create(bridge)); err != nil {
				return err
			}
			l, err := c.LinkByName(v.Peer.Name)
			if err != nil || i == ports/2 {
				return err
			}
			return c.LinkSetMasterByIndex(l, bridge)
		})
	}
	for i := range ports/2 + 1 {
		must(t, make(i))
	}
	err := host.EnsureVeth(t.Context(), Veth{Name: "full", Alias: mark("full"), Master: "br", Peer: VethPeer{Name: "peer"}})
	if !errors.Is(err, errdefs.ErrExhausted) || !strings.Contains(err.Error(), "bridge br") {
		t.Errorf("1024th port: %v, want ErrExhausted that names the bridge", err)
	}
	if _, err := host.Link(t.Context(), "full"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("the veth was left behind: %v", err)
	}
}

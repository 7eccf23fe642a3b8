package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
)

var (
	outside4, outside6 = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	uplink             = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
)

// newOutside is the world beyond this host. It has routes back to the networks, so that only the firewall keeps it out.
func newOutside(t *testing.T) box {
	t.Helper()
	home, out := testutil.HomeNS(t), testutil.NewNS(t)
	for _, ns := range []*testutil.NS{home, out} {
		// A router asks for neighbours from its link-local address, which detecting duplicates holds up for two seconds.
		ns.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	}
	testutil.Connect(t, home, "up0", out, "up0")
	home.AddAddr(t, "up0", uplink...)
	out.AddAddr(t, "up0", netip.PrefixFrom(outside4, 24), netip.PrefixFrom(outside6, 64))
	home.AddRoute(t, netip.Prefix{}, outside4)
	home.AddRoute(t, netip.Prefix{}, outside6)
	out.AddRoute(t, netip.MustParsePrefix("10.0.0.0/8"), uplink[0].Addr())
	out.AddRoute(t, netip.MustParsePrefix("fd00::/16"), uplink[1].Addr())
	t.Cleanup(func() {
		l, err := netlink.LinkByName("up0")
		must(t, errors.Join(err, netlink.LinkDel(l)))
	})
	return box{NS: out, addrs: []netip.Addr{outside4, outside6}}
}

func TestWhoReachesWhom(t *testing.T) {
	d := newDriver(t)
	blue, green, private := newTestNetwork(1), newTestNetwork(2), newTestNetwork(3)
	private.Internal = true
	for _, n := range []drivers.Network{blue, green, private} {
		must(t, d.ApplyNetwork(t.Context(), n))
	}
	boxes := map[string]box{
		"blue1":    join(t, d, blue, 10, newPath(t), "eth0"),
		"blue2":    join(t, d, blue, 11, newPath(t), "eth0"),
		"green1":   join(t, d, green, 10, newPath(t), "eth0"),
		"private1": join(t, d, private, 10, newPath(t), "eth0"),
		"private2": join(t, d, private, 11, newPath(t), "eth0"),
		"outside":  newOutside(t),
	}
	for n, name := range map[int]string{1: "blue gateway", 2: "green gateway"} {
		nw := newTestNetwork(n)
		boxes[name] = box{NS: testutil.HomeNS(t), addrs: []netip.Addr{nw.Subnets[0].Gateway, nw.Subnets[1].Gateway}}
	}
	// What the sandboxes could add themselves must not help them.
	for n, s := range private.Subnets {
		boxes["private1"].AddRoute(t, netip.Prefix{}, s.Gateway)
		boxes["private2"].AddRoute(t, netip.Prefix{}, private.Subnets[n].Gateway)
	}
	var checks sync.WaitGroup
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"blue1", "blue2", true}, {"blue2", "blue1", true},
		{"blue1", "outside", true}, {"green1", "outside", true}, {"outside", "blue1", false},
		{"blue1", "green1", false}, {"green1", "blue1", false},
		{"blue1", "blue gateway", true}, {"blue1", "green gateway", false}, {"green1", "blue gateway", false},
		{"private1", "private2", true}, {"private1", "outside", false}, {"outside", "private1", false},
		{"private1", "blue1", false}, {"blue1", "private1", false},
	} {
		for _, to := range boxes[c.to].addrs {
			service := testutil.StartEcho(t, boxes[c.to].NS, netip.AddrPortFrom(to, 0))
			checks.Go(func() {
				_, ping := testutil.Ping(t.Context(), boxes[c.from].NS, to)
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				tcp := testutil.TryTCP(ctx, boxes[c.from].NS, service)
				if (ping == nil) != c.want || (tcp == nil) != c.want {
					t.Errorf("%s to %s (%s): want reachable %v; ping: %v; tcp: %v", c.from, c.to, to, c.want, ping, tcp)
				}
			})
		}
	}
	checks.Wait()
}

func TestEgressIsMasqueradedUnlessAskedNotTo(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("disable_masquerade=%v", off), func(t *testing.T) {
			d := newDriver(t)
			out := newOutside(t)
			n := newTestNetwork(1)
			raw, err := drivers.EncodeOptions(Options{DisableMasquerade: off})
			must(t, err)
			n.Options = raw
			must(t, d.ApplyNetwork(t.Context(), n))
			b := join(t, d, n, 10, newPath(t), "eth0")
			for i, to := range out.addrs {
				want := uplink[i].Addr()
				if off {
					want = b.addrs[i]
				}
				if from := seenFrom(t, b, out, to); from != want {
					t.Errorf("%s was called by %s, want %s", to, from, want)
				}
			}
		})
	}
}

// seenFrom is whom the outside sees when b calls.
func seenFrom(t *testing.T, b, out box, to netip.Addr) netip.Addr {
	t.Helper()
	l, err := out.Listen(netip.AddrPortFrom(to, 0))
	must(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := b.Dial(ctx, netip.MustParseAddrPort(l.Addr().String()))
	must(t, err)
	defer conn.Close()
	server, err := l.Accept()
	must(t, err)
	defer server.Close()
	return netip.MustParseAddrPort(server.RemoteAddr().String()).Addr()
}

func TestPacketsOfTheMTUPass(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	must(t, d.ApplyNetwork(t.Context(), n))
	a, b := join(t, d, n, 10, newPath(t), "eth0"), join(t, d, n, 11, newPath(t), "eth0")
	for _, to := range b.addrs {
		if _, err := testutil.PingSize(t.Context(), a.NS, to, n.MTU); err != nil {
			t.Errorf("%d bytes to %s: %v", n.MTU, to, err)
		}
		if _, err := testutil.PingSize(t.Context(), a.NS, to, n.MTU+1); err == nil {
			t.Errorf("%d bytes to %s passed", n.MTU+1, to)
		}
	}
}

func TestSubnetsOfOneNetworkAreOneSegment(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	n.Internal = true
	n.Subnets = append(n.Subnets, newTestNetwork(2).Subnets...)
	must(t, d.ApplyNetwork(t.Context(), n))
	half := func(host, from int) box {
		ep := endpoint(n, host, newPath(t), "eth0")
		ep.Addrs = ep.Addrs[from : from+2]
		a, err := d.ApplyEndpoint(t.Context(), ep)
		must(t, err)
		return configure(t, ep, a)
	}
	a, b := half(10, 0), half(11, 2)
	for _, to := range b.addrs {
		if _, err := testutil.Ping(t.Context(), a.NS, to); err != nil {
			t.Error(err)
		}
	}
}

func TestManyEndpointsInParallel(t *testing.T) {
	const count = 64
	testutil.NoLeaks(t)
	d := newDriver(t)
	n := newTestNetwork(1)
	must(t, d.ApplyNetwork(t.Context(), n))
	eps := make([]drivers.Endpoint, count)
	for i := range eps {
		eps[i] = endpoint(n, 10+i, newPath(t), "eth0")
	}
	var group errgroup.Group
	for _, ep := range eps {
		group.Go(func() error {
			a, err := d.ApplyEndpoint(t.Context(), ep)
			if err != nil {
				return err
			}
			return tryConfigure(t.Context(), ep, a)
		})
	}
	must(t, group.Wait())
	first := testutil.OpenNS(t, eps[0].NetNS)
	for _, ep := range eps[1:] {
		for _, p := range ep.Addrs {
			group.Go(func() error {
				_, err := testutil.Ping(t.Context(), first, p.Addr())
				return err
			})
		}
	}
	must(t, group.Wait())
	for _, ep := range eps {
		group.Go(func() error { return d.RemoveEndpoint(t.Context(), n.ID, ep.ID) })
	}
	must(t, group.Wait())
}

func TestSyncRepairsWithoutDisturbingOthers(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	must(t, d.ApplyNetwork(t.Context(), n))
	paths := []string{newPath(t), newPath(t), newPath(t)}
	var boxes []box
	state := drivers.NetworkState{Network: n}
	for i, path := range paths {
		boxes = append(boxes, join(t, d, n, 10+i, path, "eth0"))
		state.Endpoints = append(state.Endpoints, endpoint(n, 10+i, path, "eth0"))
	}
	pinger := testutil.StartPinger(t, boxes[0].NS, boxes[1].addrs[0], 10*time.Millisecond)
	victim := vethName(n.ID, state.Endpoints[2].ID)
	l, err := netlink.LinkByName(victim)
	must(t, errors.Join(err, netlink.LinkDel(l)))
	orphan := endpoint(n, 99, paths[0], "eth7")
	_, err = d.ApplyEndpoint(t.Context(), orphan)
	must(t, err)
	must(t, netlink.AddrAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName(n.ID)}}, mustAddr(t, "10.200.0.1/24")))

	drift, err := d.Check(t.Context(), []drivers.NetworkState{state})
	must(t, err)
	text := fmt.Sprint(drift)
	for _, object := range []string{victim, vethName(n.ID, orphan.ID), "10.200.0.1/24"} {
		if !strings.Contains(text, object) {
			t.Errorf("Check does not name %s: %s", object, text)
		}
	}
	must(t, d.Sync(t.Context(), []drivers.NetworkState{state}))
	if drift, err = d.Check(t.Context(), []drivers.NetworkState{state}); err != nil || len(drift) > 0 {
		t.Errorf("after Sync: %v, %v", drift, err)
	}
	stats, err := pinger.Stop()
	if err != nil || stats.Received != stats.Sent {
		t.Errorf("others' traffic was disturbed: %s, %v", stats, err)
	}
	must(t, tryConfigure(t.Context(), state.Endpoints[2], drivers.Attachment{Interface: "eth0", MTU: n.MTU}))
	for _, to := range boxes[2].addrs {
		if _, err := testutil.Ping(t.Context(), boxes[0].NS, to); err != nil {
			t.Errorf("the repaired endpoint: %v", err)
		}
	}
}

func mustAddr(t *testing.T, text string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(text)
	must(t, err)
	return a
}

func TestNamesakesAreLeftAlone(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	foreign := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: bridgeName(n.ID)}, PeerName: "other"}
	must(t, netlink.LinkAdd(foreign))
	t.Cleanup(func() { must(t, netlink.LinkDel(foreign)) })
	if err := d.ApplyNetwork(t.Context(), n); !errors.Is(err, drivers.ErrConflict) || !strings.Contains(err.Error(), foreign.Name) {
		t.Errorf("apply: %v, want ErrConflict that names %s", err, foreign.Name)
	}
	drift, err := d.Check(t.Context(), []drivers.NetworkState{{Network: n}})
	if err != nil || !strings.Contains(fmt.Sprint(drift), foreign.Name) {
		t.Errorf("check: %v, %v", drift, err)
	}
	must(t, d.RemoveNetwork(t.Context(), n.ID))
	if _, err := netlink.LinkByName(foreign.Name); err != nil {
		t.Errorf("the namesake is gone: %v", err)
	}
	must(t, netlink.LinkSetAlias(foreign, "bystander")) // out of the dump's sight
}

func TestOneBadEndpointDoesNotStopSync(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	good, gone := endpoint(n, 10, newPath(t), "eth0"), endpoint(n, 11, "/nowhere", "eth0")
	state := []drivers.NetworkState{{Network: n, Endpoints: []drivers.Endpoint{gone, good}}}
	if err := d.Sync(t.Context(), state); !errors.Is(err, drivers.ErrNotFound) || !strings.Contains(err.Error(), string(gone.ID)) {
		t.Errorf("sync: %v, want ErrNotFound that names the endpoint", err)
	}
	h, err := link.Open(nil)
	must(t, err)
	defer h.Close()
	if _, err := h.Link(t.Context(), vethName(n.ID, good.ID)); err != nil {
		t.Errorf("the other endpoint: %v", err)
	}
	drift, err := d.Check(t.Context(), state)
	if err != nil || len(drift) != 1 || drift[0].Endpoint != gone.ID {
		t.Errorf("check: %v, %v; want the lost namespace alone", drift, err)
	}
}

func TestMTUIsThatOfTheDefaultRoute(t *testing.T) {
	d := newDriver(t)
	n := newTestNetwork(1)
	n.MTU = 0
	must(t, d.ApplyNetwork(t.Context(), n))
	a, err := d.ApplyEndpoint(t.Context(), endpoint(n, 10, newPath(t), "eth0"))
	if err != nil || a.MTU != 1500 {
		t.Errorf("without a default route: %d, %v, want 1500", a.MTU, err)
	}
	newOutside(t)
	up, err := netlink.LinkByName("up0")
	must(t, errors.Join(err, netlink.LinkSetMTU(up, 1390)))
	must(t, d.ApplyNetwork(t.Context(), n))
	a, err = d.ApplyEndpoint(t.Context(), endpoint(n, 10, newPath(t), "eth0"))
	if err != nil || a.MTU != 1390 {
		t.Errorf("with one: %d, %v, want 1390", a.MTU, err)
	}
}

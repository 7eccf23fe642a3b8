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
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func newOutside(t *testing.T) rig.Outside {
	t.Helper()
	return rig.NewOutside(t, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/16"))
}

func TestWhoReachesWhom(t *testing.T) {
	d := newDriver(t)
	blue, green, private := newNetwork(1), newNetwork(2), newNetwork(3)
	private.Internal = true
	for _, n := range []drivers.Network{blue, green, private} {
		rig.Must(t, d.ApplyNetwork(t.Context(), n))
	}
	boxes := map[string]rig.Box{
		"blue1":    join(t, d, blue, 10),
		"blue2":    join(t, d, blue, 11),
		"green1":   join(t, d, green, 10),
		"private1": join(t, d, private, 10),
		"private2": join(t, d, private, 11),
		"outside":  newOutside(t).Box,
	}
	for n, name := range map[int]string{1: "blue gateway", 2: "green gateway"} {
		nw := newNetwork(n)
		boxes[name] = rig.Box{NS: testutil.HomeNS(t), Addrs: []netip.Addr{nw.Subnets[0].Gateway, nw.Subnets[1].Gateway}}
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
		for _, to := range boxes[c.to].Addrs {
			service := testutil.StartEcho(t, boxes[c.to].NS, netip.AddrPortFrom(to, 0))
			checks.Go(func() {
				var ping, tcp error
				var both sync.WaitGroup // what must not be answered takes its whole time-out
				both.Go(func() { _, ping = testutil.Ping(t.Context(), boxes[c.from].NS, to) })
				both.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
					defer cancel()
					tcp = testutil.TryTCP(ctx, boxes[c.from].NS, service)
				})
				both.Wait()
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
			n := newNetwork(1)
			raw, err := drivers.EncodeOptions(Options{DisableMasquerade: off})
			rig.Must(t, err)
			n.Options = raw
			rig.Must(t, d.ApplyNetwork(t.Context(), n))
			b := join(t, d, n, 10)
			for i, to := range out.Addrs {
				want := out.Uplink[i]
				if off {
					want = b.Addrs[i]
				}
				if from := seenFrom(t, b, out.Box, to); from != want {
					t.Errorf("%s was called by %s, want %s", to, from, want)
				}
			}
		})
	}
}

// seenFrom is whom the outside sees when b calls.
func seenFrom(t *testing.T, b, out rig.Box, to netip.Addr) netip.Addr {
	t.Helper()
	l, err := out.Listen(netip.AddrPortFrom(to, 0))
	rig.Must(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	conn, err := b.Dial(ctx, netip.MustParseAddrPort(l.Addr().String()))
	rig.Must(t, err)
	defer conn.Close()
	server, err := l.Accept()
	rig.Must(t, err)
	defer server.Close()
	return netip.MustParseAddrPort(server.RemoteAddr().String()).Addr()
}

func TestPacketsOfTheMTUPass(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	a, b := join(t, d, n, 10), join(t, d, n, 11)
	for _, to := range b.Addrs {
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
	n := newNetwork(1)
	n.Internal = true
	n.Subnets = append(n.Subnets, newNetwork(2).Subnets...)
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	half := func(host, from int) rig.Box {
		ep := rig.Endpoint(n, host, rig.NewPath(t), "eth0")
		ep.Addrs = ep.Addrs[from : from+2]
		return rig.Join(t, d, ep)
	}
	a, b := half(10, 0), half(11, 2)
	for _, to := range b.Addrs {
		if _, err := testutil.Ping(t.Context(), a.NS, to); err != nil {
			t.Error(err)
		}
	}
}

func TestManyEndpointsInParallel(t *testing.T) {
	const count = 64
	testutil.NoLeaks(t)
	d := newDriver(t)
	n := newNetwork(1)
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	eps := make([]drivers.Endpoint, count)
	for i := range eps {
		eps[i] = rig.Endpoint(n, 10+i, rig.NewPath(t), "eth0")
	}
	var group errgroup.Group
	for _, ep := range eps {
		group.Go(func() error {
			a, err := d.ApplyEndpoint(t.Context(), ep)
			if err != nil {
				return err
			}
			return rig.Configure(t.Context(), ep, a)
		})
	}
	rig.Must(t, group.Wait())
	first := testutil.OpenNS(t, eps[0].NetNS)
	for _, ep := range eps[1:] {
		for _, p := range ep.Addrs {
			group.Go(func() error {
				_, err := testutil.Ping(t.Context(), first, p.Addr())
				return err
			})
		}
	}
	rig.Must(t, group.Wait())
	for _, ep := range eps {
		group.Go(func() error { return d.RemoveEndpoint(t.Context(), n.ID, ep.ID) })
	}
	rig.Must(t, group.Wait())
}

func TestSyncRepairsWithoutDisturbingOthers(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	var boxes []rig.Box
	state := drivers.NetworkState{Network: n}
	for i := range 3 {
		boxes = append(boxes, join(t, d, n, 10+i))
		state.Endpoints = append(state.Endpoints, boxes[i].Endpoint)
	}
	pinger := testutil.StartPinger(t, boxes[0].NS, boxes[1].Addrs[0], 10*time.Millisecond)
	victim := veths.Name(n.ID, state.Endpoints[2].ID)
	l, err := netlink.LinkByName(victim)
	rig.Must(t, errors.Join(err, netlink.LinkDel(l)))
	orphan := rig.Endpoint(n, 99, boxes[0].Endpoint.NetNS, "eth7")
	_, err = d.ApplyEndpoint(t.Context(), orphan)
	rig.Must(t, err)
	rig.Must(t, netlink.AddrAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName(n.ID)}}, mustAddr(t, "10.200.0.1/24")))

	drift, err := d.Check(t.Context(), []drivers.NetworkState{state})
	rig.Must(t, err)
	text := fmt.Sprint(drift)
	for _, object := range []string{victim, veths.Name(n.ID, orphan.ID), "10.200.0.1/24"} {
		if !strings.Contains(text, object) {
			t.Errorf("Check does not name %s: %s", object, text)
		}
	}
	rig.Must(t, d.Sync(t.Context(), []drivers.NetworkState{state}))
	if drift, err = d.Check(t.Context(), []drivers.NetworkState{state}); err != nil || len(drift) > 0 {
		t.Errorf("after Sync: %v, %v", drift, err)
	}
	stats, err := pinger.Stop()
	if err != nil || stats.Received != stats.Sent {
		t.Errorf("others' traffic was disturbed: %s, %v", stats, err)
	}
	rig.Must(t, rig.Configure(t.Context(), state.Endpoints[2], drivers.Attachment{Interface: "eth0", MTU: n.MTU}))
	for _, to := range boxes[2].Addrs {
		if _, err := testutil.Ping(t.Context(), boxes[0].NS, to); err != nil {
			t.Errorf("the repaired endpoint: %v", err)
		}
	}
}

func mustAddr(t *testing.T, text string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(text)
	rig.Must(t, err)
	return a
}

func TestNamesakesAreLeftAlone(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	foreign := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: bridgeName(n.ID)}, PeerName: "other"}
	rig.Must(t, netlink.LinkAdd(foreign))
	t.Cleanup(func() { rig.Must(t, netlink.LinkDel(foreign)) })
	if err := d.ApplyNetwork(t.Context(), n); !errors.Is(err, drivers.ErrConflict) || !strings.Contains(err.Error(), foreign.Name) {
		t.Errorf("apply: %v, want ErrConflict that names %s", err, foreign.Name)
	}
	drift, err := d.Check(t.Context(), []drivers.NetworkState{{Network: n}})
	if err != nil || !strings.Contains(fmt.Sprint(drift), foreign.Name) {
		t.Errorf("check: %v, %v", drift, err)
	}
	rig.Must(t, d.RemoveNetwork(t.Context(), n.ID))
	if _, err := netlink.LinkByName(foreign.Name); err != nil {
		t.Errorf("the namesake is gone: %v", err)
	}
	rig.Must(t, netlink.LinkSetAlias(foreign, "bystander")) // out of the dump's sight
}

func TestOneBadEndpointDoesNotStopSync(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	good, gone := rig.Endpoint(n, 10, rig.NewPath(t), "eth0"), rig.Endpoint(n, 11, "/nowhere", "eth0")
	state := []drivers.NetworkState{{Network: n, Endpoints: []drivers.Endpoint{gone, good}}}
	if err := d.Sync(t.Context(), state); !errors.Is(err, drivers.ErrNotFound) || !strings.Contains(err.Error(), string(gone.ID)) {
		t.Errorf("sync: %v, want ErrNotFound that names the endpoint", err)
	}
	h, err := link.Open(nil)
	rig.Must(t, err)
	defer h.Close()
	if _, err := h.Link(t.Context(), veths.Name(n.ID, good.ID)); err != nil {
		t.Errorf("the other endpoint: %v", err)
	}
	drift, err := d.Check(t.Context(), state)
	if err != nil || len(drift) != 1 || drift[0].Endpoint != gone.ID {
		t.Errorf("check: %v, %v; want the lost namespace alone", drift, err)
	}
}

func TestMTUIsThatOfTheDefaultRoute(t *testing.T) {
	d := newDriver(t)
	n := newNetwork(1)
	n.MTU = 0
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	a, err := d.ApplyEndpoint(t.Context(), rig.Endpoint(n, 10, rig.NewPath(t), "eth0"))
	if err != nil || a.MTU != 1500 {
		t.Errorf("without a default route: %d, %v, want 1500", a.MTU, err)
	}
	newOutside(t)
	up, err := netlink.LinkByName("up0")
	rig.Must(t, errors.Join(err, netlink.LinkSetMTU(up, 1390)))
	rig.Must(t, d.ApplyNetwork(t.Context(), n))
	a, err = d.ApplyEndpoint(t.Context(), rig.Endpoint(n, 10, rig.NewPath(t), "eth0"))
	if err != nil || a.MTU != 1390 {
		t.Errorf("with one: %d, %v, want 1390", a.MTU, err)
	}
}

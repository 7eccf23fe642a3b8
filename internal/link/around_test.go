package link

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

// What is taken away in a namespace that a link leads to is heard of, and from nowhere else.
func TestWatchAround(t *testing.T) {
	here, there, elsewhere := testutil.NewNS(t), testutil.NewNS(t), testutil.NewNS(t)
	testutil.Connect(t, here, "way", there, "eth0")
	testutil.Connect(t, there, "other0", elsewhere, "eth0")
	ns, err := OpenNS(here.Path())
	must(t, err)
	h, err := Open(ns)
	must(t, err)
	far, err := OpenNS(there.Path())
	must(t, err)
	number, err := h.NumberOf(t.Context(), far)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notices, err := h.WatchAround(ctx)
	must(t, err)
	heard := make(chan int, 100)
	ended := make(chan error, 1)
	go func() {
		for n, err := range notices {
			if err != nil {
				ended <- err
				return
			}
			heard <- n
		}
	}()
	on := func(in *testutil.NS, do func(*netlink.Handle, netlink.Link) error) {
		t.Helper()
		l, err := in.Netlink().LinkByName("eth0")
		must(t, err)
		must(t, do(in.Netlink(), l))
	}
	quiet := func(what string) {
		t.Helper()
		for {
			select {
			case n := <-heard:
				if n != number {
					t.Errorf("%s: heard of namespace %d, want %d or nothing", what, n, number)
				}
			case <-time.After(100 * time.Millisecond):
				return
			}
		}
	}
	silent := func(what string) {
		t.Helper()
		select {
		case n := <-heard:
			t.Errorf("%s: heard of namespace %d", what, n)
		case <-time.After(100 * time.Millisecond):
		}
	}
	quiet("before")
	there.AddAddr(t, "eth0", netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd09::1/64"))
	elsewhere.AddAddr(t, "eth0", netip.MustParsePrefix("10.9.0.1/24"))
	there.AddRoute(t, netip.MustParsePrefix("10.99.0.0/16"), netip.MustParseAddr("10.9.0.2"))
	silent("something added")
	on(there, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1400) })
	silent("an interface that is up changed")
	on(elsewhere, (*netlink.Handle).LinkSetDown)
	silent("where no link leads")
	for _, c := range []struct {
		name string
		do   func(*netlink.Handle, netlink.Link) error
	}{
		{"route replaced", func(h *netlink.Handle, l netlink.Link) error {
			dst, err := netlink.ParseIPNet("10.99.0.0/16")
			if err != nil {
				return err
			}
			return h.RouteReplace(&netlink.Route{Dst: dst, LinkIndex: l.Attrs().Index, Gw: net.IPv4(10, 9, 0, 3)})
		}},
		{"route removed", func(h *netlink.Handle, _ netlink.Link) error {
			dst, err := netlink.ParseIPNet("10.99.0.0/16")
			if err != nil {
				return err
			}
			return h.RouteDel(&netlink.Route{Dst: dst})
		}},
		{"address removed", func(h *netlink.Handle, l netlink.Link) error {
			addrs, err := h.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			return h.AddrDel(l, &addrs[0])
		}},
		{"down", (*netlink.Handle).LinkSetDown},
		{"renamed", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetName(l, "eth1") }},
	} {
		on(there, c.do)
		select {
		case n := <-heard:
			if n != number {
				t.Errorf("%s: heard of namespace %d, want %d", c.name, n, number)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: nothing heard", c.name)
		}
		quiet(c.name)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the watch ended without an error")
	}
	must(t, far.Close())
	must(t, h.Close())
	must(t, ns.Close())
}

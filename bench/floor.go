package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/vishvananda/netlink" //nolint:depguard // the floor is what the others are compared with: netlink and nothing above it
	"github.com/vishvananda/netns"   //nolint:depguard // as above

	"github.com/libcnm/libcnm/internal/link"
)

// floor is the least that the kernel must be asked for: a namespace that lasts, a veth pair between it and a bridge, an
// address, both ends up, a default route. There is no store, no allocation of addresses and no firewall.
type floor struct {
	bridge  int
	next    atomic.Uint32
	gateway netip.Addr
}

const floorBridge = "floor0"

func openFloor() (contender, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = floorBridge
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("create %s: %w", floorBridge, err)
	}
	f := &floor{bridge: bridge.Index, gateway: netip.MustParseAddr(gatewayText)}
	if err := netlink.AddrAdd(bridge, f.address(f.gateway)); err != nil {
		return nil, fmt.Errorf("give %s its address: %w", floorBridge, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, fmt.Errorf("raise %s: %w", floorBridge, err)
	}
	return f, nil
}

func (f *floor) address(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(16, 32)}}
}

// names are the bridge's end and the namespace of an endpoint.
func (f *floor) names(name string) (veth, path string) {
	return link.HashName("fl", 12, name), filepath.Join("/run/netns", name)
}

func (f *floor) Up(_ context.Context, name string) error {
	veth, path := f.names(name)
	if err := link.CreateNS(path); err != nil {
		return err
	}
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex, attrs.Flags = veth, f.bridge, net.FlagUp
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := host.LinkAdd(pair); err != nil {
		return fmt.Errorf("create veth %s: %w", veth, err)
	}
	inside, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", path, err)
	}
	defer inside.Close()
	return f.configure(inside)
}

// configure gives the end inside an address that nobody else has. There is no IPv4 address to spare for a floor that has
// no allocator, so it counts.
func (f *floor) configure(inside *netlink.Handle) error {
	n := f.next.Add(1) + 1
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := inside.AddrAdd(eth0, f.address(netip.AddrFrom4([4]byte{10, 77, byte(n >> 8), byte(n)}))); err != nil {
		return fmt.Errorf("add address: %w", err)
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("raise eth0: %w", err)
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: f.gateway.AsSlice()}
	if err := inside.RouteAdd(route); err != nil {
		return fmt.Errorf("add default route: %w", err)
	}
	return nil
}

func (f *floor) Down(_ context.Context, name string) error {
	veth, path := f.names(name)
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = veth
	if err := host.LinkDel(&netlink.Veth{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("delete veth %s: %w", veth, err)
	}
	return link.DeleteNS(path)
}

func (f *floor) Close() error { return nil }

package rig

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/iptables"
)

// Must ends the test on an error.
func Must(t testutil.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// ID makes an identifier out of a number.
func ID(n int) string { return fmt.Sprintf("%032x", n) }

// Network is number n, dual stack, with subnets of its own.
func Network(n int) drivers.Network {
	return drivers.Network{ID: drivers.NetworkID(ID(n)), Name: fmt.Sprint("net", n), Subnets: Subnets(n)}
}

// Subnets are the n-th of each family, with the first address as the gateway's.
func Subnets(n int) []drivers.Subnet {
	return []drivers.Subnet{
		{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", n)), Gateway: netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", n))},
		{Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", n)), Gateway: netip.MustParseAddr(fmt.Sprintf("fd00:%d::1", n))},
	}
}

// Addr is the host-th address of a subnet.
func Addr(s drivers.Subnet, host int) netip.Addr {
	raw := s.Prefix.Addr().AsSlice()
	raw[len(raw)-1] = byte(host)
	a, _ := netip.AddrFromSlice(raw) // always 4 or 16 bytes
	return a
}

// Endpoint has the host-th address of each of the network's subnets.
func Endpoint(n drivers.Network, host int, path, name string) drivers.Endpoint {
	ep := drivers.Endpoint{
		ID: drivers.EndpointID(ID(1000*host + int(n.VNI))), Network: n.ID, NetNS: path, Interface: name,
		MAC: drivers.MAC{2, 0x42, 0, 0, byte(host >> 8), byte(host)},
	}
	for _, s := range n.Subnets {
		ep.Addrs = append(ep.Addrs, netip.PrefixFrom(Addr(s, host), s.Prefix.Bits()))
	}
	return ep
}

// NewPath makes an empty namespace and returns its path.
func NewPath(t testutil.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	Must(t, link.CreateNS(path))
	t.Cleanup(func() { Must(t, link.DeleteNS(path)) })
	return path
}

// NewFirewall is this host's real one.
func NewFirewall(t testutil.TB) *iptables.Firewall {
	t.Helper()
	fw, err := iptables.New(iptables.Config{})
	Must(t, err)
	t.Cleanup(func() { Must(t, fw.Close()) })
	return fw
}

// Box is a sandbox with an endpoint in it.
type Box struct {
	*testutil.NS
	Endpoint drivers.Endpoint
	Addrs    []netip.Addr // as of the network's subnets
}

// NewBox describes an endpoint whose sandbox is ns.
func NewBox(ns *testutil.NS, ep drivers.Endpoint) Box {
	b := Box{NS: ns, Endpoint: ep}
	for _, p := range ep.Addrs {
		b.Addrs = append(b.Addrs, p.Addr())
	}
	return b
}

// Join does what the controller does for Join.
func Join(t testutil.TB, d drivers.Driver, ep drivers.Endpoint) Box {
	t.Helper()
	a, err := d.ApplyEndpoint(t.Context(), ep)
	Must(t, err)
	Must(t, Configure(t.Context(), ep, a))
	b := NewBox(testutil.OpenNS(t, ep.NetNS), ep)
	b.Name = fmt.Sprintf("network %s %v", ep.Network, b.Addrs)
	return b
}

// Configure does in the sandbox what the controller does after ApplyEndpoint.
func Configure(ctx context.Context, ep drivers.Endpoint, a drivers.Attachment) error {
	ns, err := link.OpenNS(ep.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := link.Open(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Configure(ctx, link.Interface{
		Name: a.Interface, MTU: a.MTU, Addrs: ep.Addrs, Up: true, NeighbourRetry: a.NeighbourRetry,
	}); err != nil {
		return err
	}
	var routes []link.Route
	for _, gw := range a.Gateways {
		routes = append(routes, link.Route{Dst: netip.PrefixFrom(gw, 0).Masked(), Via: gw, Dev: a.Interface})
	}
	for _, r := range a.Routes {
		routes = append(routes, link.Route{Dst: r.Dst, Via: r.Via, Dev: a.Interface})
	}
	if err := h.SetRoutes(ctx, routes, nil); err != nil {
		return err
	}
	return h.WaitUp(ctx, a.Interface)
}

package libcnm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers/bridge"
)

// An endpoint has its name and its addresses before it is joined to anything, and keeps them until it is deleted.
func ExampleNetwork_CreateEndpoint() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)

	ep, err := nw.CreateEndpoint(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}
	fmt.Println(ep.Name(), ep.Info().Addresses)
	_, err = nw.CreateEndpoint(ctx, "endpoint1")
	fmt.Println(errors.Is(err, libcnm.ErrExists))
	// Output:
	// endpoint1 [10.20.0.2/24 fd20::2/64]
	// true
}

func ExampleNetwork_Endpoints() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)
	if _, err := nw.CreateEndpoint(ctx, "endpoint1"); err != nil {
		panic(err)
	}

	eps, err := nw.Endpoints(ctx)
	if err != nil {
		panic(err)
	}
	for _, ep := range eps {
		fmt.Println(ep.Name(), ep.Info().Addresses)
	}
	// Output: endpoint1 [10.20.0.2/24 fd20::2/64]
}

func ExampleNetwork_EndpointByName() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)
	if _, err := nw.CreateEndpoint(ctx, "endpoint1"); err != nil {
		panic(err)
	}

	ep, err := nw.EndpointByName(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}
	same, err := nw.EndpointByID(ctx, ep.ID())
	if err != nil {
		panic(err)
	}
	fmt.Println(same.Name(), same.Network().Name())
	// Output: endpoint1 web
}

// A network with endpoints cannot be deleted.
func ExampleNetwork_Delete() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)
	ep, err := nw.CreateEndpoint(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}

	err = nw.Delete(ctx)
	fmt.Println(errors.Is(err, libcnm.ErrInUse))
	if err := ep.Delete(ctx); err != nil {
		panic(err)
	}
	fmt.Println(nw.Delete(ctx))
	// Output:
	// true
	// <nil>
}

// The network's gateway is its last address, a router of somebody else has another, and endpoints get theirs from the
// upper half.
func ExampleWithSubnet() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "web", libcnm.WithSubnet(netip.MustParsePrefix("10.20.0.0/24"),
		libcnm.SubnetGateway(netip.MustParseAddr("10.20.0.254")),
		libcnm.SubnetReserve("router", netip.MustParseAddr("10.20.0.128")),
		libcnm.SubnetRange(netip.MustParsePrefix("10.20.0.128/25"))))
	if err != nil {
		panic(err)
	}
	ep, err := nw.CreateEndpoint(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}
	fmt.Println(ep.Info().Addresses)
	// Output: [10.20.0.129/24]
}

func ExampleWithGateway() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "web",
		libcnm.WithSubnet(netip.MustParsePrefix("10.20.0.0/24")),
		libcnm.WithSubnet(netip.MustParsePrefix("fd20::/64")),
		libcnm.WithGateway(netip.MustParseAddr("10.20.0.254")),
		libcnm.WithGateway(netip.MustParseAddr("fd20::ffff")))
	if err != nil {
		panic(err)
	}
	for _, s := range nw.Subnets() {
		fmt.Println(s.Prefix, s.Gateway)
	}
	// Output:
	// 10.20.0.0/24 10.20.0.254
	// fd20::/64 fd20::ffff
}

// A network for more endpoints than fit into a subnet of the pools' usual size.
func ExampleWithSubnetSize() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "large", libcnm.WithSubnetSize(20), libcnm.WithoutIPv6())
	if err != nil {
		panic(err)
	}
	for _, s := range nw.Subnets() {
		fmt.Println("IPv4:", s.Prefix.Addr().Is4(), "length:", s.Prefix.Bits())
	}
	// Output: IPv4: true length: 20
}

// Containers of an internal network reach each other, and have no way out.
func ExampleWithInternal() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "db", libcnm.WithInternal())
	if err != nil {
		panic(err)
	}
	sb, ep := joinWeb(ctx, ctrl, nw, "container1")
	routes, err := sb.Command(ctx, "ip", "route", "show", "default").Output()
	if err != nil {
		panic(err)
	}
	fmt.Printf("%t %d gateways, default routes: %q\n", nw.Internal(), len(ep.Info().Gateway), routes)
	// Output: true 0 gateways, default routes: ""
}

func ExampleWithDriverOptions() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "routed", libcnm.WithDriverOptions(bridge.Options{DisableMasquerade: true}))
	if err != nil {
		panic(err)
	}
	fmt.Println(nw.Name())
	// Output: routed
}

// Options from a request or a file: a key that the driver does not know is refused by its name.
func ExampleWithRawDriverOptions() {
	ctx, ctrl, end := begin()
	defer end()

	_, err := ctrl.NewNetwork(ctx, "bridge", "routed",
		libcnm.WithRawDriverOptions("bridge", json.RawMessage(`{"disable_masqerade": true}`)))
	fmt.Println(errors.Is(err, libcnm.ErrInvalid), strings.Contains(err.Error(), `"disable_masqerade"`))
	// Output: true true
}

// Networks of the cluster take up nothing on a host until an endpoint is joined there.
func ExampleWithVNI() {
	underlay := netip.MustParseAddr("192.0.2.1") // an address of this host
	if err := exec.Command("ip", "address", "replace", underlay.String(), "dev", "lo").Run(); err != nil {
		panic(err)
	}
	ctx, ctrl, end := begin(libcnm.WithNode("node1", underlay))
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "ovs-vxlan", "blue", libcnm.WithVNI(4096))
	if err != nil {
		panic(err)
	}
	fmt.Println(nw.VNI())
	// Output: 4096
}

package libcnm_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/libcnm/libcnm"
)

// A container in two networks. The second has the default gateway, by its priority.
func ExampleEndpoint_Join() {
	ctx, ctrl, end := begin()
	defer end()
	web := newWeb(ctx, ctrl)
	uplink, err := ctrl.NewNetwork(ctx, "bridge", "uplink", libcnm.WithSubnet(netip.MustParsePrefix("10.30.0.0/24")))
	if err != nil {
		panic(err)
	}
	sb, err := ctrl.NewSandbox(ctx, "container1")
	if err != nil {
		panic(err)
	}

	first, err := web.CreateEndpoint(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}
	if err := first.Join(ctx, sb); err != nil {
		panic(err)
	}
	second, err := uplink.CreateEndpoint(ctx, "endpoint1")
	if err != nil {
		panic(err)
	}
	err = second.Join(ctx, sb,
		libcnm.WithInterfaceName("uplink0"),
		libcnm.WithGatewayPriority(10),
		libcnm.WithInterfaceSysctls(map[string]string{"net.ipv4.conf.IFNAME.rp_filter": "2"}))
	if err != nil {
		panic(err)
	}

	for _, ep := range sb.Endpoints() {
		info := ep.Info()
		fmt.Println(ep.Network().Name(), info.Interface, info.Addresses, info.Gateway)
	}
	route, err := sb.Command(ctx, "ip", "route", "show", "default").Output()
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Join(strings.Fields(string(route))[:5], " "))
	// Output:
	// web eth0 [10.20.0.2/24 fd20::2/64] [10.20.0.1 fd20::1]
	// uplink uplink0 [10.30.0.2/24] [10.30.0.1]
	// default via 10.30.0.1 dev uplink0
}

// An endpoint that has left is in no sandbox, and can join another with the same addresses.
func ExampleEndpoint_Leave() {
	ctx, ctrl, end := begin()
	defer end()
	sb, ep := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")
	next, err := ctrl.NewSandbox(ctx, "container2")
	if err != nil {
		panic(err)
	}

	if err := ep.Leave(ctx, sb); err != nil {
		panic(err)
	}
	if err := ep.Join(ctx, next); err != nil {
		panic(err)
	}
	fmt.Println(len(sb.Endpoints()), len(next.Endpoints()), ep.Info().Addresses)
	// Output: 0 1 [10.20.0.2/24 fd20::2/64]
}

// An endpoint that is joined is deleted only by force.
func ExampleEndpoint_Delete() {
	ctx, ctrl, end := begin()
	defer end()
	sb, ep := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	err := ep.Delete(ctx)
	fmt.Println(errors.Is(err, libcnm.ErrInUse))
	fmt.Println(ep.Delete(ctx, libcnm.WithForce()), len(sb.Endpoints()))
	// Output:
	// true
	// <nil> 0
}

func ExampleEndpoint_Info() {
	ctx, ctrl, end := begin()
	defer end()
	sb, ep := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	info := ep.Info()
	fmt.Println(info.Addresses, info.Gateway)
	fmt.Println(info.Interface, "in the sandbox:", info.Sandbox == sb.ID())
	// Output:
	// [10.20.0.2/24 fd20::2/64] [10.20.0.1 fd20::1]
	// eth0 in the sandbox: true
}

func ExampleWithIP() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)

	ep, err := nw.CreateEndpoint(ctx, "db",
		libcnm.WithIP(netip.MustParseAddr("10.20.0.53"), netip.MustParseAddr("fd20::53")),
		libcnm.WithMAC(net.HardwareAddr{0x02, 0, 0, 0, 0, 0x53}),
		libcnm.WithAliases("database", "primary"))
	if err != nil {
		panic(err)
	}
	info := ep.Info()
	fmt.Println(info.Addresses, info.MAC, info.Aliases)
	_, err = nw.CreateEndpoint(ctx, "second", libcnm.WithIP(netip.MustParseAddr("10.20.0.53")))
	fmt.Println(err)
	// Output:
	// [10.20.0.53/24 fd20::53/64] 02:00:00:00:00:53 [database primary]
	// create endpoint second: address 10.20.0.53 belongs to endpoint db: already exists
}

// No built-in driver publishes ports yet, and none ignores that it was asked to.
func ExampleWithPorts() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)

	_, err := nw.CreateEndpoint(ctx, "www", libcnm.WithPorts(libcnm.PortBinding{Protocol: "tcp", Port: 80, HostPort: 8080}))
	fmt.Println(errors.Is(err, libcnm.ErrUnsupported))
	// Output: true
}

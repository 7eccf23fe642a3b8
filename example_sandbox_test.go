package libcnm_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/libcnm/libcnm"
)

// The runtime mounts the files into the container, and gives it the namespace at Key.
func ExampleNetworkController_NewSandbox() {
	ctx, ctrl, end := begin()
	defer end()

	sb, err := ctrl.NewSandbox(ctx, "container1",
		libcnm.WithHostname("www.example.org"),
		libcnm.WithDNS(libcnm.DNS{
			Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
			Search:  []string{"example.org"},
		}),
		libcnm.WithExtraHosts(libcnm.ExtraHost{Name: "registry", Addr: netip.MustParseAddr("192.0.2.7")}),
		libcnm.WithSysctls(map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}),
		libcnm.WithSandboxLabels(map[string]string{"pod": "web"}))
	if err != nil {
		panic(err)
	}
	for _, path := range []string{sb.HostnamePath(), sb.ResolvConfPath(), sb.HostsPath(), sb.Key()} {
		if _, err := os.Stat(path); err != nil {
			panic(err)
		}
	}
	resolv, err := os.ReadFile(sb.ResolvConfPath())
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s %s\n%s", sb.ContainerID(), sb.Labels(), resolv)
	// Output:
	// container1 map[pod:web]
	// nameserver 192.0.2.53
	// nameserver 2001:db8::53
	// search example.org
}

// A namespace that the runtime has made, and keeps when the sandbox is deleted.
func ExampleWithNetNS() {
	ctx, ctrl, end := begin()
	defer end()
	if err := exec.Command("ip", "netns", "add", "runtime1").Run(); err != nil {
		panic(err)
	}

	sb, err := ctrl.NewSandbox(ctx, "container1", libcnm.WithNetNS("/run/netns/runtime1"))
	if err != nil {
		panic(err)
	}
	fmt.Println(sb.Key())
	if err := sb.Delete(ctx); err != nil {
		panic(err)
	}
	fmt.Println(exec.Command("ip", "netns", "delete", "runtime1").Run())
	// Output:
	// /run/netns/runtime1
	// <nil>
}

// A container without a network stack of its own.
func ExampleWithHostNetwork() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "host", "host")
	if err != nil {
		panic(err)
	}
	sb, err := ctrl.NewSandbox(ctx, "container1", libcnm.WithHostNetwork())
	if err != nil {
		panic(err)
	}
	ep, err := nw.CreateEndpoint(ctx, "container1")
	if err != nil {
		panic(err)
	}
	fmt.Println(ep.Join(ctx, sb))
	// Output: <nil>
}

// Programs that Command starts are in the group, whose limits the runtime has set.
func ExampleWithCgroup() {
	ctx, ctrl, end := begin()
	defer end()

	sb, err := ctrl.NewSandbox(ctx, "container1", libcnm.WithCgroup("/sys/fs/cgroup/containers/container1"))
	if err != nil {
		panic(err)
	}
	out, err := sb.Command(ctx, "cat", "/proc/self/cgroup").Output()
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s", out) // 0::/containers/container1
}

func ExampleSandbox_Command() {
	ctx, ctrl, end := begin()
	defer end()
	sb, _ := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	out, err := sb.Command(ctx, "ip", "-brief", "-4", "address").Output()
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(out)) {
		fmt.Println(strings.Fields(line)[2])
	}
	// Output:
	// 127.0.0.1/8
	// 10.20.0.2/24
}

func ExampleSandbox_Statistics() {
	ctx, ctrl, end := begin()
	defer end()
	sb, ep := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")
	if err := sb.Command(ctx, "ping", "-c", "1", "10.20.0.1").Run(); err != nil {
		panic(err)
	}

	list, err := sb.Statistics(ctx)
	if err != nil {
		panic(err)
	}
	for _, st := range list {
		fmt.Println(st.Interface, st.Endpoint == ep.ID(), st.TxPackets > 0, st.RxBytes > 0)
	}
	// Output: eth0 true true true
}

// A sandbox leaves its networks when it is deleted. Its endpoints keep their names and addresses.
func ExampleSandbox_Delete() {
	ctx, ctrl, end := begin()
	defer end()
	nw := newWeb(ctx, ctrl)
	sb, _ := joinWeb(ctx, ctrl, nw, "container1")

	if err := sb.Delete(ctx); err != nil {
		panic(err)
	}
	ep, err := nw.EndpointByName(ctx, "container1")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s joined to %q\n", ep.Info().Addresses, ep.Info().Sandbox)
	// Output: [10.20.0.2/24 fd20::2/64] joined to ""
}

package libcnm_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/examples/customdriver/lan"
	"github.com/libcnm/libcnm/store/local"
)

func ExampleNew() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctrl, err := libcnm.New(context.Background(),
		libcnm.WithDataDir(filepath.Join(dir, "data")),
		libcnm.WithRunDir(filepath.Join(dir, "run")),
		libcnm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		libcnm.WithCheckInterval(10*time.Second))
	if err != nil {
		panic(err)
	}
	defer ctrl.Close()

	fmt.Println(len(ctrl.Sandboxes()), "sandboxes of an earlier run")
	// Output: 0 sandboxes of an earlier run
}

// Nodes that use one etcd are a cluster, and networks of the driver ovs-vxlan span it.
func ExampleWithEtcd() {
	cert, err := tls.LoadX509KeyPair("node1.crt", "node1.key")
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	ctrl, err := libcnm.New(ctx,
		libcnm.WithNode("node1", netip.MustParseAddr("192.0.2.1")),
		libcnm.WithOVSDB("unix:/run/openvswitch/db.sock"),
		libcnm.WithEtcd(clientv3.Config{
			Endpoints: []string{"https://192.0.2.9:2379"},
			TLS:       &tls.Config{Certificates: []tls.Certificate{cert}},
		}))
	if err != nil {
		panic(err) // ErrUnavailable: etcd does not answer
	}
	defer ctrl.Close()

	nw, err := ctrl.NewNetwork(ctx, "ovs-vxlan", "blue")
	if errors.Is(err, libcnm.ErrExists) {
		nw, err = ctrl.NetworkByName(ctx, "blue") // another node was first
	}
	if err != nil {
		panic(err)
	}
	fmt.Println(nw.VNI(), nw.Subnets())
}

// Any implementation of store.Store can take etcd's place.
func ExampleWithStore() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shared, err := local.Open(context.Background(), filepath.Join(dir, "cluster.db"))
	if err != nil {
		panic(err)
	}
	defer shared.Close()

	ctx, ctrl, end := begin(libcnm.WithStore(shared))
	defer end()
	networks, err := ctrl.Networks(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(networks), "networks in the cluster")
	// Output: 0 networks in the cluster
}

// Networks that are made without a subnet get one from the pools.
func ExampleWithAddressPools() {
	ctx, ctrl, end := begin(libcnm.WithAddressPools(
		libcnm.AddressPool{Base: netip.MustParsePrefix("10.64.0.0/16"), Size: 26},
		libcnm.AddressPool{Base: netip.MustParsePrefix("fd64::/48"), Size: 64}))
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "web")
	if err != nil {
		panic(err)
	}
	for _, s := range nw.Subnets() {
		fmt.Println(s.Prefix, "gateway", s.Gateway)
	}
	// Output:
	// 10.64.0.0/26 gateway 10.64.0.1
	// fd64::/64 gateway fd64::1
}

// A driver of one's own, here the one of examples/customdriver.
func ExampleWithDriver() {
	ctx, ctrl, end := begin(libcnm.WithDriver(lan.New()))
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "lan", "office",
		libcnm.WithSubnet(netip.MustParsePrefix("192.168.7.0/24")),
		libcnm.WithDriverOptions(lan.Options{}))
	if err != nil {
		panic(err)
	}
	fmt.Println(nw.Name(), nw.Driver())
	// Output: office lan
}

func ExampleNetworkController_NewNetwork() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "web",
		libcnm.WithSubnet(netip.MustParsePrefix("10.20.0.0/24")),
		libcnm.WithSubnet(netip.MustParsePrefix("fd20::/64")),
		libcnm.WithMTU(1400),
		libcnm.WithLabels(map[string]string{"team": "shop"}))
	if err != nil {
		panic(err)
	}
	fmt.Println(nw.Name(), nw.Driver(), nw.MTU(), nw.Labels(), nw.Internal())
	for _, s := range nw.Subnets() {
		fmt.Println(s.Prefix, s.Gateway)
	}

	_, err = ctrl.NewNetwork(ctx, "bridge", "shop", libcnm.WithSubnet(netip.MustParsePrefix("10.20.0.0/16")))
	fmt.Println(errors.Is(err, libcnm.ErrConflict))
	// Output:
	// web bridge 1400 map[team:shop] false
	// 10.20.0.0/24 10.20.0.1
	// fd20::/64 fd20::1
	// true
}

func ExampleNetworkController_Networks() {
	ctx, ctrl, end := begin()
	defer end()
	newWeb(ctx, ctrl)

	networks, err := ctrl.Networks(ctx)
	if err != nil {
		panic(err)
	}
	for _, nw := range networks {
		fmt.Println(nw.Name(), nw.Driver(), nw.Subnets()[0].Prefix)
	}
	// Output: web bridge 10.20.0.0/24
}

func ExampleNetworkController_NetworkByName() {
	ctx, ctrl, end := begin()
	defer end()
	newWeb(ctx, ctrl)

	nw, err := ctrl.NetworkByName(ctx, "web")
	if err != nil {
		panic(err)
	}
	same, err := ctrl.NetworkByID(ctx, nw.ID())
	if err != nil {
		panic(err)
	}
	fmt.Println(same.Name())
	_, err = ctrl.NetworkByName(ctx, "shop")
	fmt.Println(errors.Is(err, libcnm.ErrNotFound))
	// Output:
	// web
	// true
}

// A controller that starts finds the sandboxes of the one before it, which go on as if nothing had happened.
func ExampleNetworkController_Sandboxes() {
	ctx, ctrl, end := begin()
	defer end()
	joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	for _, sb := range ctrl.Sandboxes() {
		for _, ep := range sb.Endpoints() {
			info := ep.Info()
			fmt.Println(sb.ContainerID(), ep.Network().Name(), info.Interface, info.Addresses)
		}
	}
	sb, err := ctrl.SandboxByContainer("container1")
	if err != nil {
		panic(err)
	}
	same, err := ctrl.SandboxByID(sb.ID())
	if err != nil {
		panic(err)
	}
	fmt.Println(same == sb)
	// Output:
	// container1 web eth0 [10.20.0.2/24 fd20::2/64]
	// true
}

// Check tells what is wrong with the host and changes nothing.
func ExampleNetworkController_Check() {
	ctx, ctrl, end := begin()
	defer end()
	joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	found, err := ctrl.Check(ctx)
	if err != nil {
		panic(err)
	}
	for _, drift := range found {
		fmt.Println(drift.Object, "is", drift.Have, "and should be", drift.Want)
	}
	fmt.Println(len(found), "differences")
	// Output: 0 differences
}

// A controller repairs damage by itself. Reconcile is for who wants to know that it has.
func ExampleNetworkController_Reconcile() {
	ctx, ctrl, end := begin()
	defer end()
	sb, _ := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	if err := sb.Command(ctx, "ip", "link", "delete", "eth0").Run(); err != nil {
		panic(err)
	}
	if err := ctrl.Reconcile(ctx); err != nil {
		panic(err)
	}
	err := sb.Command(ctx, "ping", "-c", "1", "10.20.0.1").Run()
	fmt.Println("gateway answers:", err == nil)
	// Output: gateway answers: true
}

// Close stops the controller and nothing else. A new one takes over.
func ExampleNetworkController_Close() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	opts := []libcnm.Option{libcnm.WithDataDir(filepath.Join(dir, "data")), libcnm.WithRunDir(filepath.Join(dir, "run"))}
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		panic(err)
	}
	joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")
	if err := ctrl.Close(); err != nil {
		panic(err)
	}

	ctrl, err = libcnm.New(ctx, opts...)
	if err != nil {
		panic(err)
	}
	defer end(ctrl, dir)
	for _, sb := range ctrl.Sandboxes() {
		fmt.Println(sb.ContainerID(), sb.Endpoints()[0].Info().Addresses)
	}
	// Output: container1 [10.20.0.2/24 fd20::2/64]
}

// A damaged local store is refused, and made anew by the one start that is told to.
func ExampleWithRebuild() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	opts := []libcnm.Option{libcnm.WithDataDir(filepath.Join(dir, "data")), libcnm.WithRunDir(filepath.Join(dir, "run"))}
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		panic(err)
	}
	joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")
	if err := ctrl.Close(); err != nil {
		panic(err)
	}
	if err := os.Truncate(filepath.Join(dir, "data", "libcnm.db"), 5000); err != nil {
		panic(err)
	}

	_, err = libcnm.New(ctx, opts...)
	fmt.Println("refused:", errors.Is(err, libcnm.ErrUnavailable))
	quiet := libcnm.WithLogger(slog.New(slog.DiscardHandler)) // it says what was done
	ctrl, err = libcnm.New(ctx, append(opts, libcnm.WithRebuild(), quiet)...)
	if err != nil {
		panic(err)
	}
	defer end(ctrl, dir)
	for _, sb := range ctrl.Sandboxes() {
		fmt.Println(sb.ContainerID(), sb.Endpoints()[0].Info().Addresses)
	}
	// Output:
	// refused: true
	// container1 [10.20.0.2/24 fd20::2/64]
}

// A node that never comes back: once its lease has ended, what was joined there can be freed in one call.
func ExampleNetworkController_Release() {
	ctx, ctrl, end := begin()
	defer end()

	nodes, err := ctrl.Nodes(ctx)
	if err != nil {
		panic(err)
	}
	for _, node := range nodes {
		if node.Alive {
			continue
		}
		fmt.Println(node.Name, "is dead, with", node.Endpoints, "endpoints")
		if err := ctrl.Release(ctx, node.Name); err != nil {
			panic(err) // ErrInUse: it is back
		}
	}
	fmt.Println(len(nodes), "node, alive:", nodes[0].Alive)
	err = ctrl.Release(ctx, "node9")
	fmt.Println(errors.Is(err, libcnm.ErrNotFound))
	// Output:
	// 1 node, alive: true
	// true
}

// A node that is to be given up sooner, or later, than after 30 s without a sign of life.
func ExampleWithNodeTTL() {
	_, ctrl, end := begin(libcnm.WithNodeTTL(time.Minute))
	defer end()
	fmt.Println(len(ctrl.Sandboxes()), "sandboxes")
	// Output: 0 sandboxes
}

// Stats tells what the controller has repaired, and why it looked.
func ExampleNetworkController_Stats() {
	ctx, ctrl, end := begin()
	defer end()
	sb, _ := joinWeb(ctx, ctrl, newWeb(ctx, ctrl), "container1")

	if err := sb.Command(ctx, "ip", "link", "delete", "eth0").Run(); err != nil {
		panic(err)
	}
	if err := ctrl.Reconcile(ctx); err != nil {
		panic(err)
	}
	stats := ctrl.Stats()
	fmt.Println("repaired:", stats.Repairs > 0, "failures:", stats.Failures, "unusable drivers:", len(stats.Unusable))
	fmt.Println("by kind of object and by cause:", len(stats.ByObject) > 0, len(stats.ByCause) > 0)
	// Output:
	// repaired: true failures: 0 unusable drivers: 0
	// by kind of object and by cause: true true
}

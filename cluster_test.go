package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
)

// settle is how long a change may take to reach another node before a test fails.
const settle = 10 * time.Second

// newCluster opens controllers node1, node2, ... on one etcd, each on a fake host of its own.
func newCluster(t *testing.T, n int) ([]*libcnm.NetworkController, []*fixture, *testutil.EtcdCluster) {
	t.Helper()
	etcd := testutil.StartEtcd(t, testutil.EtcdOptions{})
	var cs []*libcnm.NetworkController
	var fs []*fixture
	for i := range n {
		f := newFixture(t, fmt.Sprintf("node%d", i+1), libcnm.WithEtcd(etcd.Config()))
		fs = append(fs, f)
		cs = append(cs, f.open(t))
	}
	return cs, fs, etcd
}

func clusterNetwork(t *testing.T, c *libcnm.NetworkController, name string, opts ...libcnm.NetworkOption) *libcnm.Network {
	t.Helper()
	n, err := c.NewNetwork(t.Context(), "fakenet", name, opts...)
	must(t, err)
	return n
}

// hostHas waits until the fake host's network driver has, or has not, a line with all the parts.
func hostHas(t *testing.T, f *fixture, want bool, parts ...string) {
	t.Helper()
	testutil.Eventually(t, settle, func() error {
		dump := f.host.Dump("fakenet")
		for line := range strings.Lines(dump) {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all == want && want {
				return nil
			}
			if all && !want {
				return fmt.Errorf("host has %q:\n%s", parts, dump)
			}
		}
		if want {
			return fmt.Errorf("host lacks %q:\n%s", parts, dump)
		}
		return nil
	})
}

func TestPeersFollow(t *testing.T) {
	ctx := t.Context()
	cs, fs, _ := newCluster(t, 3)
	blue := clusterNetwork(t, cs[0], "blue", libcnm.WithSubnet(prefix("10.1.0.0/24")), libcnm.WithSubnet(prefix("fd01::/64")))
	if vni := blue.VNI(); vni < 4096 || vni >= 1<<24 {
		t.Errorf("VNI = %d", vni)
	}
	var eps []*libcnm.Endpoint
	var sbs []*libcnm.Sandbox
	for i, c := range cs[:2] {
		n := mustNetwork(t, c, "blue")
		ep := newEndpoint(t, n, fmt.Sprint("ep", i+1))
		sb := newSandbox(t, c, "container")
		must(t, ep.Join(ctx, sb))
		eps, sbs = append(eps, ep), append(sbs, sb)
	}
	// Each of the two hosts knows the other's endpoint; the third, not a member, knows nothing.
	hostHas(t, fs[0], true, "peer", eps[1].ID())
	hostHas(t, fs[1], true, "peer", eps[0].ID())
	if dump := fs[2].host.Dump("fakenet"); dump != "" {
		t.Errorf("a node that is no member has:\n%s", dump)
	}
	// The third node joins and knows both before its Join returns.
	third := newEndpoint(t, mustNetwork(t, cs[2], "blue"), "ep3")
	thirdBox := newSandbox(t, cs[2], "container")
	must(t, third.Join(ctx, thirdBox))
	for _, ep := range eps {
		if dump := fs[2].host.Dump("fakenet"); !strings.Contains(dump, ep.ID()) {
			t.Errorf("after Join the node lacks peer %s:\n%s", ep.Name(), dump)
		}
	}
	must(t, third.Leave(ctx, thirdBox))
	for _, f := range fs[:2] {
		hostHas(t, f, false, "peer", third.ID())
	}
	if dump := fs[2].host.Dump("fakenet"); dump != "" {
		t.Errorf("after the last leave the node still has:\n%s", dump)
	}
	// Joined on one node: refused on another, visible there, and removable there by force only.
	remote, err := mustNetwork(t, cs[1], "blue").EndpointByName(ctx, "ep1")
	must(t, err)
	if info := remote.Info(); info.Node != "node1" || info.Sandbox != sbs[0].ID() {
		t.Errorf("seen from another node: %+v", info)
	}
	wantErr(t, remote.Join(ctx, sbs[1]), libcnm.ErrInUse, "node1")
	wantErr(t, remote.Delete(ctx), libcnm.ErrInUse, "node1")
	must(t, remote.Delete(ctx, libcnm.WithForce()))
	hostHas(t, fs[0], false, eps[0].ID())
	testutil.Eventually(t, settle, func() error {
		if left := sbs[0].Endpoints(); len(left) > 0 {
			return fmt.Errorf("sandbox still has %d endpoints", len(left))
		}
		return nil
	})
}

// TestPeersSurviveRestart closes and opens the controllers of both nodes: no peer is lost, and changes made while one was
// away are caught up with.
func TestPeersSurviveRestart(t *testing.T) {
	ctx := t.Context()
	cs, fs, _ := newCluster(t, 2)
	clusterNetwork(t, cs[0], "blue")
	var eps []*libcnm.Endpoint
	for i, c := range cs {
		ep := newEndpoint(t, mustNetwork(t, c, "blue"), fmt.Sprint("ep", i+1))
		must(t, ep.Join(ctx, newSandbox(t, c, "container")))
		eps = append(eps, ep)
	}
	hostHas(t, fs[0], true, "peer", eps[1].ID())
	before := fs[0].host.Dump("fakenet")
	must(t, cs[0].Close())
	if after := fs[0].host.Dump("fakenet"); after != before {
		t.Errorf("Close changed the host:\n%s", after)
	}
	hostHas(t, fs[1], true, "peer", eps[0].ID()) // the data plane of node1 runs on

	late := newEndpoint(t, mustNetwork(t, cs[1], "blue"), "late")
	lateBox := newSandbox(t, cs[1], "late")
	must(t, late.Join(ctx, lateBox))
	must(t, eps[1].Leave(ctx, lookup(t, cs[1], "container")))
	again := fs[0].open(t)
	for _, parts := range []struct {
		want bool
		id   string
	}{{true, late.ID()}, {false, eps[1].ID()}} {
		hostHas(t, fs[0], parts.want, "peer", parts.id)
	}
	sb := lookup(t, again, "container")
	if len(sb.Endpoints()) != 1 || sb.Endpoints()[0].ID() != eps[0].ID() {
		t.Errorf("sandbox after restart has %v", sb.Endpoints())
	}
	must(t, sb.Delete(ctx))
	hostHas(t, fs[1], false, "peer", eps[0].ID())
}

func lookup(t *testing.T, c *libcnm.NetworkController, container string) *libcnm.Sandbox {
	t.Helper()
	sb, err := c.SandboxByContainer(container)
	must(t, err)
	return sb
}

func TestNodeNameIsOneController(t *testing.T) {
	cs, fs, etcd := newCluster(t, 1)
	other := newFixture(t, "node1", libcnm.WithEtcd(etcd.Config()))
	_, err := other.tryOpen(t)
	wantErr(t, err, libcnm.ErrInUse, "node1")
	must(t, cs[0].Close())
	fs[0].open(t) // the same data directory is the same node, at once
}

// TestTenThousandAllocations: eight controllers allocate from one /16 on one etcd.
func TestTenThousandAllocations(t *testing.T) {
	const controllers, each, width = 8, 1250, 4
	ctx := t.Context()
	cs, _, _ := newCluster(t, controllers)
	clusterNetwork(t, cs[0], "blue", libcnm.WithSubnet(prefix("10.1.0.0/16")))
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		owner = make(map[netip.Addr]string)
	)
	for i, c := range cs {
		n := mustNetwork(t, c, "blue")
		for w := range width {
			wg.Go(func() {
				for k := w; k < each; k += width {
					name := fmt.Sprintf("ep-%d-%d", i, k)
					ep, err := n.CreateEndpoint(ctx, name)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					a := ep.Info().Addresses[0].Addr()
					mu.Lock()
					if other, dup := owner[a]; dup {
						t.Errorf("%s given to %s and %s", a, other, name)
					}
					owner[a] = name
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if len(owner) != controllers*each {
		t.Errorf("%d different addresses, want %d", len(owner), controllers*each)
	}
}

// TestAddressesAreReusedLast frees one address of a small pool again and again.
func TestAddressesAreReusedLast(t *testing.T) {
	ctx := t.Context()
	cs, _, _ := newCluster(t, 2)
	clusterNetwork(t, cs[0], "blue", libcnm.WithSubnet(prefix("10.1.0.0/29"))) // 5 addresses beside the gateway
	a, b := mustNetwork(t, cs[0], "blue"), mustNetwork(t, cs[1], "blue")
	kept := newEndpoint(t, a, "kept")
	var order []string
	for i := range 8 {
		n := a
		if i%2 == 1 {
			n = b
		}
		ep := newEndpoint(t, n, "fleeting")
		order = append(order, ep.Info().Addresses[0].Addr().String())
		must(t, ep.Delete(ctx))
	}
	for i, addr := range order {
		if i > 0 && order[i-1] == addr {
			t.Errorf("%s was given out again at once, with others free: %v", addr, order)
		}
		if addr == kept.Info().Addresses[0].Addr().String() {
			t.Errorf("%s is given twice", addr)
		}
	}
	for i := range 4 {
		newEndpoint(t, a, fmt.Sprint("ep", i))
	}
	_, err := b.CreateEndpoint(ctx, "one-too-many")
	wantErr(t, err, libcnm.ErrExhausted, "10.1.0.0/29", "5")
	must(t, kept.Delete(ctx))
	newEndpoint(t, b, "fits-now")
}

// TestEtcdAway stops etcd: local work goes on, cluster calls fail soon and name the reason, and all is well afterwards.
func TestEtcdAway(t *testing.T) {
	ctx := t.Context()
	cs, fs, etcd := newCluster(t, 2)
	c := cs[0]
	blue := clusterNetwork(t, c, "blue")
	local := newNetwork(t, c, "local")
	ep := newEndpoint(t, blue, "a")
	sb := newSandbox(t, c, "container1")
	must(t, ep.Join(ctx, sb))
	before := fs[0].host.Dump("fakenet")
	etcd.Stop(0)

	for what, call := range map[string]func(context.Context) error{
		"CreateEndpoint": func(ctx context.Context) error { return second(blue.CreateEndpoint(ctx, "b")) },
		"Leave":          func(ctx context.Context) error { return ep.Leave(ctx, sb) },
		"NewNetwork":     func(ctx context.Context) error { return second(c.NewNetwork(ctx, "fakenet", "red")) },
	} {
		short, cancel := context.WithTimeout(ctx, time.Second)
		if err := call(short); !errors.Is(err, libcnm.ErrUnavailable) {
			t.Errorf("%s without etcd = %v, want ErrUnavailable", what, err)
		}
		cancel()
	}
	must(t, newEndpoint(t, local, "b").Join(ctx, sb))
	newNetwork(t, c, "local2")
	if len(sb.Endpoints()) != 2 || ep.Info().Node != "node1" {
		t.Errorf("local reads: %d endpoints, %+v", len(sb.Endpoints()), ep.Info())
	}
	if after := fs[0].host.Dump("fakenet"); after != before {
		t.Errorf("the data plane changed:\n%s\nbefore:\n%s", after, before)
	}
	other := newFixture(t, "node3", libcnm.WithEtcd(etcd.Config()))
	bounded, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	wantErr(t, second(libcnm.New(bounded, other.opts...)), libcnm.ErrUnavailable)

	etcd.Start(0)
	testutil.Eventually(t, 3*settle, func() error { return second(blue.CreateEndpoint(ctx, "c")) })
	remote := newEndpoint(t, mustNetwork(t, cs[1], "blue"), "remote")
	must(t, remote.Join(ctx, newSandbox(t, cs[1], "container2")))
	hostHas(t, fs[0], true, "peer", remote.ID()) // the watch has resumed
}

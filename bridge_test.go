package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
)

// joined makes a sandbox with one endpoint in each network, in their order.
func joined(t *testing.T, c *libcnm.NetworkController, container string, networks ...*libcnm.Network) (*libcnm.Sandbox, []*libcnm.Endpoint) {
	t.Helper()
	sb := newSandbox(t, c, container)
	var eps []*libcnm.Endpoint
	for _, n := range networks {
		ep := newEndpoint(t, n, container)
		must(t, ep.Join(t.Context(), sb))
		eps = append(eps, ep)
	}
	return sb, eps
}

func bridgeNetwork(t *testing.T, c *libcnm.NetworkController, name string, opts ...libcnm.NetworkOption) *libcnm.Network {
	t.Helper()
	n, err := c.NewNetwork(t.Context(), "bridge", name, opts...)
	must(t, err)
	return n
}

func inside(t *testing.T, sb *libcnm.Sandbox) *testutil.NS {
	t.Helper()
	return testutil.OpenNS(t, sb.Key())
}

// reach pings every address from the sandbox and names those that do not answer.
func reach(ctx context.Context, from *testutil.NS, to ...netip.Addr) error {
	var errs []error
	for _, a := range to {
		if _, err := testutil.Ping(ctx, from, a); err != nil {
			errs = append(errs, fmt.Errorf("ping %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

func addrsOf(ep *libcnm.Endpoint) []netip.Addr {
	var list []netip.Addr
	for _, p := range ep.Info().Addresses {
		list = append(list, p.Addr())
	}
	return list
}

func TestBridgeEndToEnd(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	web, db := bridgeNetwork(t, c, "web"), bridgeNetwork(t, c, "db")
	a, _ := joined(t, c, "a", web)
	b, bEps := joined(t, c, "b", web)
	_, otherEps := joined(t, c, "other", db)
	both, bothEps := joined(t, c, "both", web, db)

	must(t, reach(ctx, inside(t, a), addrsOf(bEps[0])...))
	must(t, reach(ctx, inside(t, both), append(addrsOf(bEps[0]), addrsOf(otherEps[0])...)...))
	for _, to := range addrsOf(otherEps[0]) {
		if err := reach(ctx, inside(t, a), to); err == nil {
			t.Errorf("network web reaches %s in network db", to)
		}
	}
	info := bothEps[1].Info()
	if info.Interface != "eth1" || len(info.Gateway) != 2 || info.MTU == 0 || len(info.Addresses) != 2 {
		t.Errorf("second endpoint says %+v", info)
	}
	if out := output(t, both, "ip", "-br", "link"); !strings.Contains(out, "eth0") || !strings.Contains(out, "eth1") {
		t.Errorf("interfaces of the sandbox:\n%s", out)
	}
	stats, err := b.Statistics(ctx)
	must(t, err)
	if len(stats) != 1 || stats[0].Interface != "eth0" || stats[0].RxPackets == 0 || stats[0].Endpoint != bEps[0].ID() {
		t.Errorf("statistics = %+v", stats)
	}
	found, err := c.Check(ctx)
	must(t, err)
	for _, d := range found {
		t.Errorf("difference on a healthy host: %s", d)
	}
}

func output(t *testing.T, sb *libcnm.Sandbox, name string, args ...string) string {
	t.Helper()
	out, err := sb.Command(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// TestDefaultGateway is the rule of Endpoint.Join's documentation.
func TestDefaultGateway(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	subnets := func(i int) []libcnm.NetworkOption {
		return []libcnm.NetworkOption{
			libcnm.WithSubnet(prefix(fmt.Sprintf("10.77.%d.0/24", i))), libcnm.WithSubnet(prefix(fmt.Sprintf("fd77:%d::/64", i))),
		}
	}
	sb := newSandbox(t, c, "container1")
	routes := func() string {
		t.Helper()
		var hops []string
		for _, family := range []string{"-4", "-6"} {
			fields := strings.Fields(output(t, sb, "ip", family, "route", "show", "default"))
			if len(fields) < 5 {
				hops = append(hops, "none")
				continue
			}
			hops = append(hops, fields[2]+" "+fields[4])
		}
		return strings.Join(hops, ", ")
	}
	want := func(what, hops string) {
		t.Helper()
		if got := routes(); got != hops {
			t.Errorf("%s: default routes %s, want %s", what, got, hops)
		}
	}
	inner := newEndpoint(t, bridgeNetwork(t, c, "inner", append(subnets(0), libcnm.WithInternal())...), "ep")
	first := newEndpoint(t, bridgeNetwork(t, c, "first", subnets(1)...), "ep")
	next := newEndpoint(t, bridgeNetwork(t, c, "next", subnets(2)...), "ep")
	best := newEndpoint(t, bridgeNetwork(t, c, "best", subnets(3)...), "ep")

	want("alone", "none, none")
	must(t, inner.Join(ctx, sb))
	want("internal only", "none, none")
	must(t, first.Join(ctx, sb))
	want("first with a gateway", "10.77.1.1 eth1, fd77:1::1 eth1")
	must(t, next.Join(ctx, sb))
	want("a later one changes nothing", "10.77.1.1 eth1, fd77:1::1 eth1")
	must(t, best.Join(ctx, sb, libcnm.WithGatewayPriority(10), libcnm.WithInterfaceName("fast0")))
	want("a higher priority takes over", "10.77.3.1 fast0, fd77:3::1 fast0")
	must(t, best.Leave(ctx, sb))
	want("it leaves", "10.77.1.1 eth1, fd77:1::1 eth1")
	must(t, first.Leave(ctx, sb))
	want("the next takes over", "10.77.2.1 eth2, fd77:2::1 eth2")
	must(t, first.Join(ctx, sb))
	want("the free number is used again", "10.77.1.1 eth1, fd77:1::1 eth1")
	wantErr(t, best.Join(ctx, sb, libcnm.WithInterfaceName("eth2")), libcnm.ErrExists, "eth2")
}

func TestSandboxFiles(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := bridgeNetwork(t, c, "web", libcnm.WithSubnet(prefix("10.78.0.0/24")), libcnm.WithSubnet(prefix("fd78::/64")))
	sb := newSandbox(t, c, "container1",
		libcnm.WithHostname("www.example.org"),
		libcnm.WithDNS(libcnm.DNS{Servers: []netip.Addr{addr("192.0.2.53")}, Search: []string{"example.org"}, Options: []string{"ndots:1"}}),
		libcnm.WithExtraHosts(libcnm.ExtraHost{Name: "registry", Addr: addr("192.0.2.7")}),
		libcnm.WithSysctls(map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}))
	ep := newEndpoint(t, n, "a")
	must(t, ep.Join(ctx, sb, libcnm.WithInterfaceSysctls(map[string]string{"net.ipv4.conf.IFNAME.rp_filter": "2"})))
	for path, parts := range map[string][]string{
		sb.HostnamePath():   {"www\n"},
		sb.HostsPath():      {"127.0.0.1\tlocalhost", "10.78.0.2\twww.example.org www\n", "fd78::2\twww.example.org www\n", "192.0.2.7\tregistry\n"},
		sb.ResolvConfPath(): {"nameserver 192.0.2.53\nsearch example.org\noptions ndots:1\n"},
	} {
		text, err := os.ReadFile(path)
		must(t, err)
		for _, part := range parts {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s lacks %q:\n%s", path, part, text)
			}
		}
	}
	for key, want := range map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "80", "net.ipv4.conf.eth0.rp_filter": "2", "net.ipv6.conf.eth0.accept_ra": "0",
	} {
		if got := strings.TrimSpace(output(t, sb, "cat", "/proc/sys/"+strings.ReplaceAll(key, ".", "/"))); got != want {
			t.Errorf("%s = %s, want %s", key, got, want)
		}
	}
	must(t, ep.Leave(ctx, sb))
	text, err := os.ReadFile(sb.HostsPath())
	must(t, err)
	if strings.Contains(string(text), "10.78.0.2") {
		t.Errorf("hosts file still has the address after leaving:\n%s", text)
	}
}

// TestRuntimesNamespace uses a namespace that is not ours: it is left as it was found.
func TestRuntimesNamespace(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := bridgeNetwork(t, c, "web")
	ns := testutil.NewNS(t)
	sb, err := c.NewSandbox(ctx, "container1", libcnm.WithNetNS(ns.Path()))
	must(t, err)
	if sb.Key() != ns.Path() {
		t.Errorf("key = %s, want %s", sb.Key(), ns.Path())
	}
	ep := newEndpoint(t, n, "a")
	must(t, ep.Join(ctx, sb))
	_, others := joined(t, c, "b", n)
	must(t, reach(ctx, ns, append(addrsOf(others[0]), addr("127.0.0.1"))...))
	alias := filepath.Join(t.TempDir(), "alias")
	must(t, os.Symlink(ns.Path(), alias))
	wantErr(t, second(c.NewSandbox(ctx, "c", libcnm.WithNetNS(alias))), libcnm.ErrInUse, alias, "container1")
	wantErr(t, second(c.NewSandbox(ctx, "container1", libcnm.WithNetNS(alias))), libcnm.ErrExists, "container1")
	wantErr(t, second(c.NewSandbox(ctx, "c", libcnm.WithNetNS(lookup(t, c, "b").Key()))), libcnm.ErrInUse, "container b")
	must(t, sb.Delete(ctx))
	links, err := ns.Netlink().LinkList()
	must(t, err)
	if len(links) != 1 {
		t.Errorf("%d links left in the runtime's namespace, want lo alone", len(links))
	}
}

func TestHostAndNull(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	hostNet, err := c.NewNetwork(ctx, "host", "host")
	must(t, err)
	none, err := c.NewNetwork(ctx, "null", "none")
	must(t, err)
	wantErr(t, second(c.NewNetwork(ctx, "host", "host2")), libcnm.ErrExists, "host")
	wantErr(t, second(hostNet.CreateEndpoint(ctx, "a", libcnm.WithIP(addr("10.0.0.1")))), libcnm.ErrUnsupported, "host")

	own := newSandbox(t, c, "own")
	shared, err := c.NewSandbox(ctx, "shared", libcnm.WithHostNetwork())
	must(t, err)
	ep := newEndpoint(t, hostNet, "a")
	wantErr(t, ep.Join(ctx, own), libcnm.ErrUnsupported, "WithHostNetwork")
	must(t, ep.Join(ctx, shared))
	wantErr(t, newEndpoint(t, bridgeNetwork(t, c, "web"), "a").Join(ctx, shared), libcnm.ErrUnsupported, "host")
	must(t, newEndpoint(t, none, "a").Join(ctx, own))
	if out := output(t, own, "ip", "-br", "link"); strings.Count(out, "\n") != 1 {
		t.Errorf("sandbox in no network has interfaces:\n%s", out)
	}
	if here, there := output(t, shared, "readlink", "/proc/self/ns/net"), readlink(t, "/proc/self/ns/net"); strings.TrimSpace(here) != there {
		t.Errorf("sandbox on the host's network runs in %s, the host is %s", here, there)
	}
	must(t, shared.Delete(ctx))
}

func readlink(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	must(t, err)
	return s
}

// TestRestart opens a controller on what another left: everything is as it was, and nothing was touched.
func TestRestart(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	a, aEps := joined(t, c, "a", n)
	_, bEps := joined(t, c, "b", n)
	before := f.dump(t, c)
	link := output(t, a, "ip", "-o", "link", "show", "eth0")
	must(t, c.Close())
	must(t, reach(ctx, inside(t, a), addrsOf(bEps[0])...)) // the data plane runs on

	c = f.open(t)
	if after := f.dump(t, c); after != before {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", after, before)
	}
	a, err := c.SandboxByContainer("a")
	must(t, err)
	if now := output(t, a, "ip", "-o", "link", "show", "eth0"); now != link {
		t.Errorf("interface was made anew: %s, before %s", now, link)
	}
	must(t, reach(ctx, inside(t, a), addrsOf(bEps[0])...))
	ep, err := mustNetwork(t, c, "web").EndpointByName(ctx, "a")
	must(t, err)
	if ep.ID() != aEps[0].ID() || ep.Info().Interface != "eth0" {
		t.Errorf("endpoint after restart: %s %+v", ep.ID(), ep.Info())
	}
	for _, sb := range c.Sandboxes() {
		must(t, sb.Delete(ctx))
	}
}

func mustNetwork(t *testing.T, c *libcnm.NetworkController, name string) *libcnm.Network {
	t.Helper()
	n, err := c.NetworkByName(t.Context(), name)
	must(t, err)
	return n
}

// TestRepair damages the host behind the controller's back and waits for it to be as it was.
func TestRepair(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1", libcnm.WithCheckInterval(300*time.Millisecond))
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	a, _ := joined(t, c, "a", n)
	b, bEps := joined(t, c, "b", n)
	_, other := joined(t, c, "other", bridgeNetwork(t, c, "other"))
	for what, damage := range map[string][]string{
		"link deleted":        {"ip", "netns", "exec", "x", "ip", "link", "delete", "eth0"},
		"address removed":     {"ip", "netns", "exec", "x", "ip", "-4", "address", "flush", "dev", "eth0"},
		"default route":       {"ip", "netns", "exec", "x", "ip", "route", "delete", "default"},
		"rules flushed":       {"iptables", "-F"},
		"bridge brought down": {"sh", "-c", "ip link set $(ip -o link show type bridge | cut -d: -f2 | head -1) down"},
		"namespace removed":   {"sh", "-c", "umount " + b.Key() + " && rm " + b.Key()},
	} {
		t.Run(what, func(t *testing.T) {
			if damage[1] == "netns" {
				output(t, b, damage[4], damage[5:]...)
			} else {
				run(t, testutil.HomeNS(t), damage[0], damage[1:]...)
			}
			must(t, c.Reconcile(ctx))
			found, err := c.Check(ctx)
			must(t, err)
			for _, d := range found {
				t.Errorf("after repair: %s", d)
			}
			must(t, reach(ctx, inside(t, a), addrsOf(bEps[0])...))
			if err := reach(ctx, inside(t, a), addrsOf(other[0])[0]); err == nil {
				t.Error("networks reach each other after repair")
			}
		})
	}
}

// TestRepairBySignsAlone damages sandboxes again and again, and nobody but the kernel tells the controller. It is asked for a
// repair only when the namespace has lost its place, or has another in its place.
func TestRepairBySignsAlone(t *testing.T) {
	f := newFixture(t, "node1", libcnm.WithCheckInterval(time.Hour))
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	runtimes := testutil.NewNS(t)
	foreign, err := c.NewSandbox(t.Context(), "foreign", libcnm.WithNetNS(runtimes.Path()))
	must(t, err)
	must(t, newEndpoint(t, n, "foreign").Join(t.Context(), foreign))
	own, _ := joined(t, c, "own", n)
	for round := range 10 { // a new network makes the controller look at everything, for a second or two
		for _, sb := range []*libcnm.Sandbox{own, foreign} {
			output(t, sb, "ip", "route", "delete", "default")
			testutil.Eventually(t, settle, func() error {
				if routes := output(t, sb, "ip", "route"); !strings.Contains(routes, "default") {
					return fmt.Errorf("%s, round %d: routes are\n%s", sb.ContainerID(), round, routes)
				}
				return nil
			})
			if sb != own || round%3 != 1 {
				continue
			}
			run(t, testutil.HomeNS(t), "umount", sb.Key())
			if round == 1 {
				must(t, os.Remove(sb.Key()))
			} else {
				run(t, testutil.HomeNS(t), "mount", "--bind", testutil.NewNS(t).Path(), sb.Key())
			}
			must(t, c.Reconcile(t.Context()))
		}
	}
}

// TestRuntimeEndsFirst removes the runtime's namespace under the sandbox: deleting it still works, and so does a restart.
func TestRuntimeEndsFirst(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	must(t, c.Reconcile(ctx)) // removes what tests before have left of bridges
	home := testutil.HomeNS(t)
	start := func(name string) *libcnm.Sandbox {
		t.Helper()
		run(t, home, "ip", "netns", "add", name)
		sb, err := c.NewSandbox(ctx, name, libcnm.WithNetNS("/run/netns/"+name))
		must(t, err)
		must(t, newEndpoint(t, n, name).Join(ctx, sb))
		if out := output(t, sb, "ip", "-br", "address", "show", "lo"); !strings.Contains(out, "127.0.0.1/8") || !strings.Contains(out, "::1/128") {
			t.Errorf("loopback of a runtime's namespace: %s", out)
		}
		run(t, home, "ip", "netns", "delete", name)
		return sb
	}
	must(t, start("first").Delete(ctx))
	start("second")
	if found, err := c.Check(ctx); err != nil || len(found) > 1 {
		t.Errorf("check with a namespace gone: %v, %v", found, err)
	}
	must(t, c.Close())
	c = f.open(t)
	if left := c.Sandboxes(); len(left) != 0 {
		t.Errorf("%d sandboxes of dead containers are kept", len(left))
	}
	for _, name := range []string{"first", "second"} {
		ep, err := mustNetwork(t, c, "web").EndpointByName(ctx, name)
		must(t, err)
		if ep.Info().Node != "" {
			t.Errorf("endpoint %s is still joined", name)
		}
		must(t, ep.Delete(ctx))
	}
	must(t, mustNetwork(t, c, "web").Delete(ctx))
}

func run(t *testing.T, ns *testutil.NS, name string, args ...string) {
	t.Helper()
	if out, err := ns.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestJoinAgainstDelete lets joins and the deletion of their sandbox run into each other.
func TestJoinAgainstDelete(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := newNetwork(t, c, "web")
	for round := range 20 {
		sb, err := c.NewSandbox(ctx, fmt.Sprint("container", round))
		must(t, err)
		var wg sync.WaitGroup
		for i := range 4 {
			ep := newEndpoint(t, n, fmt.Sprintf("ep-%d-%d", round, i))
			wg.Go(func() {
				if err := ep.Join(ctx, sb); err != nil && !errors.Is(err, libcnm.ErrNotFound) {
					t.Errorf("join: %v", err)
				}
			})
		}
		wg.Go(func() {
			if err := sb.Delete(ctx); err != nil {
				t.Errorf("delete: %v", err)
			}
		})
		wg.Wait()
		eps, err := n.Endpoints(ctx)
		must(t, err)
		for _, ep := range eps {
			if info := ep.Info(); info.Node != "" {
				t.Errorf("round %d: endpoint %s is joined to a sandbox that is gone: %+v", round, ep.Name(), info)
			}
			must(t, ep.Delete(ctx))
		}
	}
}

// TestForeignDriver: a network of a driver that only another node has is visible, but cannot be joined.
func TestForeignDriver(t *testing.T) {
	ctx := t.Context()
	etcd := testutil.StartEtcd(t, testutil.EtcdOptions{})
	special := drivertest.NewFake(drivertest.FakeConfig{Info: drivers.Info{Name: "special", Scope: drivers.ScopeCluster, Addressing: true}})
	a := newFixture(t, "node1", libcnm.WithEtcd(etcd.Config())).open(t, libcnm.WithDriver(linkless{special}))
	b := newFixture(t, "node2", libcnm.WithEtcd(etcd.Config())).open(t)
	_, err := a.NewNetwork(ctx, "special", "blue")
	must(t, err)
	n := mustNetwork(t, b, "blue")
	if all, err := b.Networks(ctx); err != nil || len(all) != 1 || n.Driver() != "special" {
		t.Errorf("networks on the other node: %v, %v", all, err)
	}
	ep := newEndpoint(t, n, "a")
	wantErr(t, ep.Join(ctx, newSandbox(t, b, "container1")), libcnm.ErrUnsupported, "special")
	must(t, ep.Delete(ctx))
	must(t, n.Delete(ctx))
}

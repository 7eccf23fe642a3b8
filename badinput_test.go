package libcnm_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
)

var badNames = map[string]string{
	"empty":        "",
	"64 letters":   strings.Repeat("a", 64),
	"path":         "../x",
	"shell":        "a;b",
	"newline":      "a\nb",
	"leading dash": "-a",
	"leading dot":  ".a",
	"slash":        "a/b",
	"space":        "a b",
	"NUL":          "a\x00b",
	"quote":        `a"b`,
	"look-alike":   "а", // Cyrillic
	"percent":      "a%d",
	"very long":    strings.Repeat("x", 100_000),
}

func TestBadNames(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := newNetwork(t, c, "web")
	ep := newEndpoint(t, n, "a")
	sb := newSandbox(t, c, "container1")
	before := f.dump(t, c)
	for what, name := range badNames {
		t.Run(what, func(t *testing.T) {
			for call, err := range map[string]error{
				"NewNetwork":         second(c.NewNetwork(ctx, "fake", name)),
				"NetworkByName":      second(c.NetworkByName(ctx, name)),
				"NetworkByID":        second(c.NetworkByID(ctx, name)),
				"CreateEndpoint":     second(n.CreateEndpoint(ctx, name)),
				"EndpointByName":     second(n.EndpointByName(ctx, name)),
				"EndpointByID":       second(n.EndpointByID(ctx, name)),
				"NewSandbox":         second(c.NewSandbox(ctx, name)),
				"SandboxByID":        second(c.SandboxByID(name)),
				"SandboxByContainer": second(c.SandboxByContainer(name)),
				"WithAliases":        second(n.CreateEndpoint(ctx, "b", libcnm.WithAliases(name))),
				"WithHostname":       second(c.NewSandbox(ctx, "b", libcnm.WithHostname(name))),
				"WithExtraHosts":     second(c.NewSandbox(ctx, "b", libcnm.WithExtraHosts(libcnm.ExtraHost{Name: name, Addr: addr("10.0.0.1")}))),
				"WithInterfaceName":  ep.Join(ctx, sb, libcnm.WithInterfaceName(name)),
				"WithNode":           second(libcnm.New(ctx, libcnm.WithNode(name, addr("192.0.2.1")))),
				"SubnetReserve": second(c.NewNetwork(ctx, "fake", "b",
					libcnm.WithSubnet(prefix("10.9.0.0/24"), libcnm.SubnetReserve(name, addr("10.9.0.9"))))),
			} {
				if !errors.Is(err, libcnm.ErrInvalid) {
					t.Errorf("%s: %v, want ErrInvalid", call, err)
				} else if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 600 {
					t.Errorf("%s: text may damage a log: %.700q", call, err)
				}
			}
		})
	}
	if diff := cmp.Diff(before, f.dump(t, c)); diff != "" {
		t.Errorf("refused calls changed something (-before +after):\n%s", diff)
	}
}

func TestBadInput(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := newNetwork(t, c, "web", libcnm.WithSubnet(prefix("10.1.0.0/24"), libcnm.SubnetReserve("router", addr("10.1.0.9"))),
		libcnm.WithSubnet(prefix("fd01::/64")))
	ep := newEndpoint(t, n, "a", libcnm.WithIP(addr("10.1.0.7")), libcnm.WithMAC(net.HardwareAddr{2, 0, 0, 0, 0, 7}))
	sb := newSandbox(t, c, "container1")
	home := testutil.HomeNS(t)
	testutil.Connect(t, home, "uplink", testutil.NewNS(t), "far")
	home.AddAddr(t, "uplink", prefix("198.18.0.1/15"))
	before := f.dump(t, c)

	network := func(opts ...libcnm.NetworkOption) error { return second(c.NewNetwork(ctx, "fake", "b", opts...)) }
	subnet := func(s string, opts ...libcnm.SubnetOption) error {
		return network(libcnm.WithSubnet(prefix(s), opts...))
	}
	endpoint := func(opts ...libcnm.EndpointOption) error { return second(n.CreateEndpoint(ctx, "b", opts...)) }
	sandbox := func(opts ...libcnm.SandboxOption) error { return second(c.NewSandbox(ctx, "b", opts...)) }
	for _, tc := range []struct {
		name  string
		err   error
		class error
		parts []string
	}{
		{"unknown driver", second(c.NewNetwork(ctx, "nope", "b")), libcnm.ErrUnsupported, []string{"nope", "fake"}},
		{"network name taken", second(c.NewNetwork(ctx, "fake", "web")), libcnm.ErrExists, []string{"web"}},
		{"host bits", subnet("10.2.0.1/24"), libcnm.ErrInvalid, []string{"10.2.0.1/24", "10.2.0.0/24"}},
		{"everything", subnet("0.0.0.0/0"), libcnm.ErrInvalid, []string{"0.0.0.0/0"}},
		{"multicast", subnet("224.0.0.0/8"), libcnm.ErrInvalid, []string{"224.0.0.0/8"}},
		{"loopback", subnet("127.0.0.0/16"), libcnm.ErrInvalid, []string{"127.0.0.0/16"}},
		{"link-local", subnet("fe80::/64"), libcnm.ErrInvalid, []string{"fe80::/64"}},
		{"mapped", subnet("::ffff:10.0.0.0/104"), libcnm.ErrInvalid, []string{"::ffff:10.0.0.0/104"}},
		{"no prefix", network(libcnm.WithSubnet(netip.Prefix{})), libcnm.ErrInvalid, nil},
		{"overlapping another network", subnet("10.1.0.128/25"), libcnm.ErrConflict, []string{"10.1.0.128/25", "web", "10.1.0.0/24"}},
		{"overlapping a host route", subnet("198.18.4.0/24"), libcnm.ErrConflict, []string{"198.18.4.0/24", "198.18.0.0/15", "uplink"}},
		{"overlapping itself", network(libcnm.WithSubnet(prefix("10.3.0.0/16")), libcnm.WithSubnet(prefix("10.3.4.0/24"))), libcnm.ErrInvalid, []string{"10.3.0.0/16", "10.3.4.0/24"}},
		{"gateway outside", subnet("10.4.0.0/24", libcnm.SubnetGateway(addr("10.5.0.1"))), libcnm.ErrInvalid, []string{"10.5.0.1"}},
		{"gateway of no subnet", network(libcnm.WithSubnet(prefix("10.4.0.0/24")), libcnm.WithGateway(addr("10.5.0.1"))), libcnm.ErrInvalid, []string{"10.5.0.1"}},
		{"two gateways", network(libcnm.WithSubnet(prefix("10.4.0.0/24")), libcnm.WithGateway(addr("10.4.0.1")), libcnm.WithGateway(addr("10.4.0.2"))), libcnm.ErrInvalid, []string{"10.4.0.1", "10.4.0.2"}},
		{"range outside", subnet("10.4.0.0/24", libcnm.SubnetRange(prefix("10.5.0.0/25"))), libcnm.ErrInvalid, []string{"10.5.0.0/25"}},
		{"reserved outside", subnet("10.4.0.0/24", libcnm.SubnetReserve("x", addr("10.5.0.1"))), libcnm.ErrInvalid, []string{"10.5.0.1"}},
		{"MTU", network(libcnm.WithMTU(67)), libcnm.ErrInvalid, []string{"67"}},
		{"VNI 0", network(libcnm.WithVNI(0)), libcnm.ErrInvalid, []string{"0"}},
		{"VNI too large", network(libcnm.WithVNI(1 << 24)), libcnm.ErrInvalid, []string{"16777216"}},
		{"VNI without tunnels", network(libcnm.WithVNI(5)), libcnm.ErrUnsupported, []string{"fake"}},
		{"options of another driver", second(c.NewNetwork(ctx, "fakenet", "b", libcnm.WithDriverOptions(drivertest.FakeOptions{}))), libcnm.ErrInvalid, []string{"fake", "fakenet"}},
		{"unknown option", network(libcnm.WithRawDriverOptions("fake", []byte(`{"speed":1}`))), libcnm.ErrInvalid, []string{"speed"}},
		{"option of another type", network(libcnm.WithRawDriverOptions("fake", []byte(`{"tag":1}`))), libcnm.ErrInvalid, []string{"tag"}},
		{"options that are no JSON", network(libcnm.WithRawDriverOptions("fake", []byte(`{`))), libcnm.ErrInvalid, nil},
		{"nil option", network(nil), libcnm.ErrInvalid, nil},
		{"label without key", network(libcnm.WithLabels(map[string]string{"": "x"})), libcnm.ErrInvalid, nil},

		{"endpoint name taken", second(n.CreateEndpoint(ctx, "a")), libcnm.ErrExists, []string{"a", "web"}},
		{"address outside", endpoint(libcnm.WithIP(addr("10.2.0.5"))), libcnm.ErrInvalid, []string{"10.2.0.5"}},
		{"address taken", endpoint(libcnm.WithIP(addr("10.1.0.7"))), libcnm.ErrExists, []string{"10.1.0.7", "endpoint a"}},
		{"address of the gateway", endpoint(libcnm.WithIP(addr("10.1.0.1"))), libcnm.ErrExists, []string{"10.1.0.1", "gateway"}},
		{"address reserved", endpoint(libcnm.WithIP(addr("10.1.0.9"))), libcnm.ErrExists, []string{"10.1.0.9", "router"}},
		{"network address", endpoint(libcnm.WithIP(addr("10.1.0.0"))), libcnm.ErrInvalid, []string{"10.1.0.0"}},
		{"broadcast address", endpoint(libcnm.WithIP(addr("10.1.0.255"))), libcnm.ErrInvalid, []string{"10.1.0.255"}},
		{"two addresses of one subnet", endpoint(libcnm.WithIP(addr("10.1.0.3"), addr("10.1.0.4"))), libcnm.ErrInvalid, []string{"10.1.0.0/24"}},
		{"zoned address", endpoint(libcnm.WithIP(addr("fe80::1%eth0"))), libcnm.ErrInvalid, []string{"fe80::1%eth0"}},
		{"MAC taken", endpoint(libcnm.WithMAC(net.HardwareAddr{2, 0, 0, 0, 0, 7})), libcnm.ErrExists, []string{"02:00:00:00:00:07", "endpoint a"}},
		{"multicast MAC", endpoint(libcnm.WithMAC(net.HardwareAddr{1, 0, 0, 0, 0, 7})), libcnm.ErrInvalid, []string{"01:00:00:00:00:07"}},
		{"short MAC", endpoint(libcnm.WithMAC(net.HardwareAddr{2, 0})), libcnm.ErrInvalid, nil},
		{"ports of a driver without", endpoint(libcnm.WithPorts(libcnm.PortBinding{Protocol: "tcp", Port: 80})), libcnm.ErrUnsupported, []string{"fake"}},
		{"protocol", endpoint(libcnm.WithPorts(libcnm.PortBinding{Protocol: "icmp", Port: 80})), libcnm.ErrInvalid, []string{"icmp"}},
		{"port 0", endpoint(libcnm.WithPorts(libcnm.PortBinding{Protocol: "tcp"})), libcnm.ErrInvalid, []string{"0"}},

		{"container taken", second(c.NewSandbox(ctx, "container1")), libcnm.ErrExists, []string{"container1"}},
		{"namespace absent", sandbox(libcnm.WithNetNS("/run/netns/absent")), libcnm.ErrNotFound, []string{"/run/netns/absent"}},
		{"namespace relative", sandbox(libcnm.WithNetNS("x")), libcnm.ErrInvalid, []string{"x"}},
		{"no namespace", sandbox(libcnm.WithNetNS("/etc/passwd")), libcnm.ErrInvalid, []string{"/etc/passwd"}},
		{"host's namespace", sandbox(libcnm.WithNetNS("/proc/self/ns/net")), libcnm.ErrInvalid, []string{"WithHostNetwork"}},
		{"sysctl outside net", sandbox(libcnm.WithSysctls(map[string]string{"kernel.hostname": "x"})), libcnm.ErrInvalid, []string{"kernel.hostname"}},
		{"sysctl path", sandbox(libcnm.WithSysctls(map[string]string{"net.ipv4../../x": "1"})), libcnm.ErrInvalid, nil},
		{"sysctl value", sandbox(libcnm.WithSysctls(map[string]string{"net.ipv4.ip_forward": "1\n2"})), libcnm.ErrInvalid, []string{"net.ipv4.ip_forward"}},
		{"DNS search", sandbox(libcnm.WithDNS(libcnm.DNS{Search: []string{"a\nnameserver 1.2.3.4"}})), libcnm.ErrInvalid, nil},
		{"DNS server", sandbox(libcnm.WithDNS(libcnm.DNS{Servers: []netip.Addr{{}}})), libcnm.ErrInvalid, nil},
		{"cgroup", sandbox(libcnm.WithCgroup("/tmp/group")), libcnm.ErrUnsupported, []string{"/tmp/group"}},
		{"cgroup relative", sandbox(libcnm.WithCgroup("group")), libcnm.ErrInvalid, []string{"group"}},

		{"nil sandbox", ep.Join(ctx, nil), libcnm.ErrInvalid, nil},
		{"leave nil", ep.Leave(ctx, nil), libcnm.ErrInvalid, nil},
		{"interface lo", ep.Join(ctx, sb, libcnm.WithInterfaceName("lo")), libcnm.ErrInvalid, []string{"lo"}},
		{"interface too long", ep.Join(ctx, sb, libcnm.WithInterfaceName("abcdefghijklmnop")), libcnm.ErrInvalid, nil},
		{"interface sysctl", ep.Join(ctx, sb, libcnm.WithInterfaceSysctls(map[string]string{"net.ipv4.conf.eth0.rp_filter": "0"})), libcnm.ErrInvalid, []string{"IFNAME"}},

		{"same directories", second(f.tryOpen(t)), libcnm.ErrInUse, []string{f.dir}},
		{"relative data directory", second(libcnm.New(ctx, libcnm.WithDataDir("x"))), libcnm.ErrInvalid, []string{"x"}},
		{"empty etcd endpoint", second(libcnm.New(ctx, libcnm.WithEtcd(clientv3.Config{Endpoints: []string{""}}))), libcnm.ErrInvalid, nil},
		{"two stores", second(libcnm.New(ctx, libcnm.WithEtcd(clientv3.Config{Endpoints: []string{"x"}}), libcnm.WithStore(noStore{}))), libcnm.ErrInvalid, nil},
		{"pool", second(libcnm.New(ctx, libcnm.WithAddressPools(libcnm.AddressPool{Base: prefix("10.0.0.0/24"), Size: 16}))), libcnm.ErrInvalid, []string{"10.0.0.0/24"}},
		{"foreign underlay", second(libcnm.New(ctx, libcnm.WithDataDir(t.TempDir()), libcnm.WithRunDir(t.TempDir()), libcnm.WithNode("n", addr("203.0.113.9")))), libcnm.ErrInvalid, []string{"203.0.113.9"}},
	} {
		t.Run(tc.name, func(t *testing.T) { wantErr(t, tc.err, tc.class, tc.parts...) })
	}
	if diff := cmp.Diff(before, f.dump(t, c)); diff != "" {
		t.Errorf("refused calls changed something (-before +after):\n%s", diff)
	}
}

func TestCancelledAndClosed(t *testing.T) {
	f := newFixture(t, "node1")
	c := f.open(t)
	n := newNetwork(t, c, "web")
	ep := newEndpoint(t, n, "a")
	sb := newSandbox(t, c, "container1")
	joined, free := newEndpoint(t, n, "joined"), newSandbox(t, c, "container2")
	must(t, joined.Join(t.Context(), sb))
	calls := func(ctx context.Context) map[string]error {
		return map[string]error{
			"NewNetwork":     second(c.NewNetwork(ctx, "fake", "b")),
			"Networks":       second(c.Networks(ctx)),
			"NetworkByName":  second(c.NetworkByName(ctx, "web")),
			"NetworkByID":    second(c.NetworkByID(ctx, n.ID())),
			"CreateEndpoint": second(n.CreateEndpoint(ctx, "b")),
			"Endpoints":      second(n.Endpoints(ctx)),
			"EndpointByName": second(n.EndpointByName(ctx, "a")),
			"EndpointByID":   second(n.EndpointByID(ctx, ep.ID())),
			"NewSandbox":     second(c.NewSandbox(ctx, "b")),
			"Join":           ep.Join(ctx, free),
			"Leave":          joined.Leave(ctx, sb),
			"EndpointDelete": ep.Delete(ctx),
			"SandboxDelete":  sb.Delete(ctx),
			"NetworkDelete":  n.Delete(ctx),
			"Check":          second(c.Check(ctx)),
			"Reconcile":      c.Reconcile(ctx),
		}
	}
	before := f.dump(t, c)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for call, err := range calls(cancelled) {
		t.Run("cancelled "+call, func(t *testing.T) { wantErr(t, err, context.Canceled) })
	}
	wantErr(t, second(libcnm.New(cancelled)), context.Canceled)
	if diff := cmp.Diff(before, f.dump(t, c)); diff != "" {
		t.Errorf("cancelled calls changed something (-before +after):\n%s", diff)
	}
	must(t, sb.Delete(t.Context()))
	must(t, free.Delete(t.Context()))
	must(t, c.Close())
	must(t, c.Close()) // again: nothing
	for call, err := range calls(t.Context()) {
		t.Run("closed "+call, func(t *testing.T) { wantErr(t, err, libcnm.ErrClosed) })
	}
}

// TestGivenDriverIsClosed: New takes over the drivers it is given, also when it fails.
func TestGivenDriverIsClosed(t *testing.T) {
	f := newFixture(t, "node1")
	f.open(t)
	d := drivertest.NewFake(drivertest.FakeConfig{Info: drivers.Info{Name: "given", Scope: drivers.ScopeLocal}})
	wantErr(t, second(f.tryOpen(t, libcnm.WithDriver(d))), libcnm.ErrInUse)
	if err := d.Sync(t.Context(), nil); !errors.Is(err, drivers.ErrClosed) {
		t.Errorf("sync of a driver whose controller did not start = %v, want ErrClosed", err)
	}
	twice := []libcnm.Option{libcnm.WithDriver(d), libcnm.WithDriver(d)}
	wantErr(t, second(newFixture(t, "node2").tryOpen(t, twice...)), libcnm.ErrInvalid, "given")
}

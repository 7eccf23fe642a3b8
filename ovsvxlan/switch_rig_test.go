package ovsvxlan_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// The rig of these tests: one node, which is the test's own namespace, with a private Open vSwitch and its VTEP
// address on br-phy.
type host struct {
	ovs  *testutil.OVS
	home *testutil.NS
	cfg  ovsvxlan.Config
}

var rigVTEP = netip.MustParseAddr("192.0.2.1")

func newHost(t *testing.T) *host { t.Helper(); return newHostOn(t, testutil.OVSOptions{}) }

func newHostOn(t *testing.T, opts testutil.OVSOptions) *host {
	t.Helper()
	r := &host{ovs: testutil.StartOVS(t, opts), home: testutil.HomeNS(t)}
	r.ovs.Vsctl(t, "add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type="+testutil.Datapath(), "fail_mode=standalone")
	r.home.AddAddr(t, "br-phy", netip.PrefixFrom(rigVTEP, 24))
	r.home.LinkUp(t, "br-phy")
	log, _ := testutil.NewLogs(t)
	r.cfg = ovsvxlan.Config{OVSDB: r.ovs.Endpoint(), VTEP: rigVTEP, Logger: log}
	return r
}

func (r *host) open(t *testing.T) *ovsvxlan.Switch {
	t.Helper()
	s, err := ovsvxlan.Open(t.Context(), r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func id(n int) string { return fmt.Sprintf("%032x", n) }

// overlay is number n, always with the same two subnets: networks may overlap.
func overlay(n int) ovsvxlan.Network {
	return ovsvxlan.Network{
		ID: id(n), VNI: uint32(n), GatewayMAC: ovsvxlan.MAC{0x0a, 0, 0, 0, 0, byte(n)},
		Subnets: []ovsvxlan.Subnet{
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1")},
			{Prefix: netip.MustParsePrefix("fd01::/64"), Gateway: netip.MustParseAddr("fd01::1")},
		},
	}
}

// addrs4 and addrs6 are what host number h has in every network.
func addr4(h int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(h >> 8), byte(h)}) }
func addr6(h int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x01, 14: byte(h >> 8), 15: byte(h)})
}
func macOf(h int) ovsvxlan.MAC { return ovsvxlan.MAC{0x02, 0x42, 0, 0, byte(h >> 8), byte(h)} }

// attached is host number h in network n. Its device is not made yet.
func attached(n, h int) ovsvxlan.LocalEndpoint {
	return ovsvxlan.LocalEndpoint{
		Endpoint:  ovsvxlan.Endpoint{ID: id(n<<16 | h), Network: id(n), MAC: macOf(h), Addrs: []netip.Addr{addr4(h), addr6(h)}},
		Interface: fmt.Sprintf("v%d-%d", n, h),
	}
}

// device makes the endpoint's veth pair, with the other end configured in a namespace of its own.
func (r *host) device(t *testing.T, e ovsvxlan.LocalEndpoint) *testutil.NS {
	t.Helper()
	ns := testutil.NewNS(t)
	r.plug(t, e, ns)
	t.Cleanup(func() { r.unplug(t, e.Interface) })
	return ns
}

func (r *host) plug(t *testing.T, e ovsvxlan.LocalEndpoint, ns *testutil.NS) {
	t.Helper()
	testutil.Connect(t, r.home, e.Interface, ns, "eth0")
	// The datapath reads the device through a packet socket; the host's own stack must not answer what it reads.
	r.home.Sysctl(t, "net/ipv6/conf/"+e.Interface+"/disable_ipv6", "1")
	ns.TxOff(t, "eth0")
	link, err := ns.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Netlink().LinkSetHardwareAddr(link, e.MAC[:]); err != nil {
		t.Fatal(err)
	}
	for _, a := range e.Addrs {
		bits := 16
		if a.Is6() {
			bits = 64
		}
		ns.AddAddr(t, "eth0", netip.PrefixFrom(a, bits))
	}
}

func (r *host) unplug(t *testing.T, device string) {
	t.Helper()
	link, err := r.home.Netlink().LinkByName(device)
	if _, gone := err.(netlink.LinkNotFoundError); gone { //nolint:errorlint // the library returns it bare
		return
	}
	if err == nil {
		err = r.home.Netlink().LinkDel(link)
	}
	if err != nil {
		t.Errorf("unplug %s: %v", device, err)
	}
}

func reach(t *testing.T, from *testutil.NS, to ...netip.Addr) {
	t.Helper()
	for _, a := range to {
		if _, err := testutil.Ping(t.Context(), from, a); err != nil {
			t.Error(err)
		}
	}
}

// reachSoon allows for what a changed switch takes to drop the decisions it has cached: half a second by default, more on
// a busy machine.
func reachSoon(t *testing.T, from *testutil.NS, to ...netip.Addr) {
	t.Helper()
	for _, a := range to {
		testutil.Eventually(t, 10*time.Second, func() error {
			_, err := testutil.Ping(t.Context(), from, a)
			return err
		})
	}
}

// noReach pings all addresses at the same time, because each takes its whole time-out.
func noReach(t *testing.T, from *testutil.NS, to ...netip.Addr) {
	t.Helper()
	answers := make(chan error, len(to))
	for _, a := range to {
		go func() {
			if _, err := testutil.Ping(t.Context(), from, a); err == nil {
				answers <- fmt.Errorf("%s answered, and must not be reachable", a)
				return
			}
			answers <- nil
		}()
	}
	for range to {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

// same checks that the bridge differs from want in nothing.
func same(t *testing.T, s *ovsvxlan.Switch, want ...ovsvxlan.State) {
	t.Helper()
	diffs, err := s.Check(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Errorf("%s: want %q, have %q", d.Object, d.Want, d.Have)
	}
}

func state(n int, hosts ...int) ovsvxlan.State {
	s := ovsvxlan.State{Network: overlay(n)}
	for _, h := range hosts {
		s.Endpoints = append(s.Endpoints, attached(n, h))
	}
	return s
}

// event waits for the switch to ask for a Sync.
func event(t *testing.T, s *ovsvxlan.Switch) string {
	t.Helper()
	select {
	case reason := <-s.Events():
		return reason
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return ""
	}
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// dump is the configuration of the private OVS: bridges, ports, interfaces, and flows where there are any of ours.
func (r *host) dump(t *testing.T) string {
	t.Helper()
	out := r.ovs.Vsctl(t, "--columns=name,datapath_type,fail_mode,protocols,external_ids,other_config", "list", "bridge") +
		r.ovs.Vsctl(t, "--columns=name,external_ids,other_config", "list", "port") +
		r.ovs.Vsctl(t, "--columns=name,type,options,ofport,ofport_request,external_ids,error", "list", "interface")
	blocks := strings.Split(out, "\n\n")
	slices.Sort(blocks)
	if strings.Contains(r.ovs.Vsctl(t, "list-br"), "cnm-int") {
		blocks = append(blocks, r.flows(t))
	}
	return strings.Join(blocks, "\n\n")
}

// flows is what the bridge has been programmed with.
func (r *host) flows(t *testing.T) string {
	t.Helper()
	mgmt := r.ovs.RunDir() + "/cnm-int.mgmt"
	lines := strings.Split(r.ovs.Ofctl(t, "--no-stats", "dump-flows", mgmt)+r.ovs.Ofctl(t, "dump-groups", mgmt)+
		"fragments "+r.ovs.Ofctl(t, "get-frags", mgmt), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

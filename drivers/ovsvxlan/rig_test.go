package ovsvxlan

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a host in the test's own namespace: Open vSwitch on the netdev datapath, the VTEP address on br-phy.
type node struct {
	ovs   *testutil.OVS
	fw    Firewall
	rules func() []string // what fw has put on the host
	vtep  netip.Addr
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{ovs: testutil.StartOVS(t, testutil.OVSOptions{}), vtep: netip.MustParseAddr("192.0.2.1")}
	n.ovs.Vsctl(t, "add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev", "fail_mode=standalone")
	home := testutil.HomeNS(t)
	home.AddAddr(t, "br-phy", netip.PrefixFrom(n.vtep, 24))
	home.LinkUp(t, "br-phy")
	n.fw = newFirewall(t)
	n.rules = func() []string { return dumpRules(t) }
	return n
}

func newFirewall(t testing.TB) *iptables.Firewall {
	t.Helper()
	fw, err := iptables.New(iptables.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, fw.Close()) })
	return fw
}

// run runs a program to its end, also in clean-ups, when the test's context is over.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

func (n *node) vsctl(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, "ovs-vsctl", append([]string{"--timeout=30", "--db=" + n.ovs.Endpoint()}, args...)...)
}

func (n *node) ofctl(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, "ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
}

func (n *node) open(t testing.TB) (*Driver, error) {
	t.Helper()
	log, _ := testutil.NewLogs(t)
	return New(Config{VTEP: n.vtep, OVSDB: n.ovs.Endpoint(), Firewall: n.fw, Logger: log})
}

// newDriver makes a driver, and leaves the host clean.
func (n *node) newDriver(t testing.TB) *Driver {
	t.Helper()
	d, err := n.open(t)
	must(t, err)
	t.Cleanup(func() {
		must(t, d.Sync(context.WithoutCancel(t.Context()), nil))
		must(t, d.Close())
		if left := n.dump(t); left != "" {
			t.Errorf("left on the host:\n%s", left)
		}
	})
	return d
}

func id(n int) string { return fmt.Sprintf("%032x", n) }

// overlay is number n, always with the same two subnets: networks may overlap.
func overlay(n int) drivers.Network {
	return drivers.Network{
		ID: drivers.NetworkID(id(n)), Name: fmt.Sprint("net", n), VNI: uint32(n),
		Subnets: []drivers.Subnet{
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.1")},
			{Prefix: netip.MustParsePrefix("fd01::/64"), Gateway: netip.MustParseAddr("fd01::1")},
		},
	}
}

// box is a sandbox, configured as the controller does it.
type box struct {
	*testutil.NS
	ep    drivers.Endpoint
	addrs []netip.Addr // IPv4, IPv6
}

func newPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	must(t, link.CreateNS(path))
	t.Cleanup(func() { must(t, link.DeleteNS(path)) })
	return path
}

func endpoint(n drivers.Network, host int, path string) drivers.Endpoint {
	ep := drivers.Endpoint{
		ID: drivers.EndpointID(id(1000*host + int(n.VNI))), Network: n.ID, NetNS: path, Interface: "eth0",
		MAC: drivers.MAC{2, 0x42, 0, 0, byte(host >> 8), byte(host)},
	}
	for _, s := range n.Subnets {
		ep.Addrs = append(ep.Addrs, netip.PrefixFrom(addrOf(s, host), s.Prefix.Bits()))
	}
	return ep
}

func addrOf(s drivers.Subnet, host int) netip.Addr {
	raw := s.Prefix.Addr().AsSlice()
	raw[len(raw)-1] = byte(host)
	a, _ := netip.AddrFromSlice(raw) // always 4 or 16 bytes
	return a
}

// join does what the controller does for Join.
func join(t testing.TB, d *Driver, n drivers.Network, host int) box {
	t.Helper()
	ep := endpoint(n, host, newPath(t))
	a, err := d.ApplyEndpoint(t.Context(), ep)
	must(t, err)
	must(t, configure(t.Context(), ep, a))
	b := box{NS: testutil.OpenNS(t, ep.NetNS), ep: ep}
	b.Name = fmt.Sprintf("net%d/host%d", n.VNI, host)
	for _, p := range ep.Addrs {
		b.addrs = append(b.addrs, p.Addr())
	}
	return b
}

func configure(ctx context.Context, ep drivers.Endpoint, a drivers.Attachment) error {
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
	if err := h.Configure(ctx, link.Interface{Name: a.Interface, MTU: a.MTU, Addrs: ep.Addrs, Up: true}); err != nil {
		return err
	}
	var routes []link.Route
	for _, gw := range a.Gateways {
		routes = append(routes, link.Route{Dst: netip.PrefixFrom(gw, 0).Masked(), Via: gw, Dev: a.Interface})
	}
	for _, r := range a.Routes {
		routes = append(routes, link.Route{Dst: r.Dst, Via: r.Via, Dev: a.Interface})
	}
	if err := h.SetRoutes(ctx, routes); err != nil {
		return err
	}
	return h.WaitUp(ctx, a.Interface)
}

// dump renders all that the driver has on this host and in the given sandboxes.
func (n *node) dump(t testing.TB, sandboxes ...string) string {
	t.Helper()
	out := slices.Concat(dumpLinks(t), n.dumpSwitch(t), n.rules())
	for i, path := range sandboxes {
		out = append(out, dumpSandbox(t, i, path)...)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func dumpLinks(t testing.TB) []string {
	t.Helper()
	h, err := netlink.NewHandle()
	must(t, err)
	defer h.Close()
	all, err := h.LinkList()
	must(t, err)
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []string
	for _, l := range all {
		a := l.Attrs()
		if !strings.HasPrefix(a.Name, "cnm") || strings.HasPrefix(a.Alias, "bystander") || l.Type() == "tuntap" {
			continue
		}
		flags := strings.NewReplacer("|running", "", "|promiscuous", "").Replace(a.Flags.String())
		out = append(out, fmt.Sprintf("link %s %s alias %s mtu %d %s master %s", a.Name, l.Type(), a.Alias, a.MTU, flags, names[a.MasterIndex]))
		addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
		must(t, err)
		for _, addr := range addrs {
			if addr.IP.To4() != nil || !addr.IP.IsLinkLocalUnicast() {
				out = append(out, fmt.Sprintf("address %s %s", a.Name, addr.IPNet))
			}
		}
	}
	routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 207}, netlink.RT_FILTER_PROTOCOL)
	must(t, err)
	for _, r := range routes {
		out = append(out, fmt.Sprintf("route %s mtu %d", r.Dst, r.MTU))
	}
	return out
}

func dumpSandbox(t testing.TB, number int, path string) []string {
	t.Helper()
	ns, err := link.OpenNS(path)
	if err != nil {
		return nil // deleted
	}
	defer ns.Close()
	var out []string
	must(t, ns.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if a := l.Attrs(); a.Name != "lo" {
				out = append(out, fmt.Sprintf("sandbox %d link %s %s mtu %d", number, a.Name, a.HardwareAddr, a.MTU))
			}
		}
		return err
	}))
	return out
}

func dumpRules(t testing.TB) []string {
	t.Helper()
	seen := map[string]bool{}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		raw, err := exec.Command(program).Output()
		must(t, err)
		table := ""
		for line := range strings.Lines(string(raw)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "*") {
				table = line
			}
			if strings.Contains(line, "CNM-") {
				line, _, _ = strings.Cut(line, " [") // counters
				seen[program+" "+table+" "+line] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

var (
	zoneEntry  = regexp.MustCompile(`libcnm-zone-([0-9a-f]{32})=""(\d+)""`)
	portNumber = regexp.MustCompile(`in_port=(\d+)|set_field:(0x[0-9a-f]+)->reg2|output:(\d+)`)
)

// dumpSwitch renders what Open vSwitch has of ours. Numbers that depend on history (of ports and of networks) are
// replaced by the names of what they stand for.
func (n *node) dumpSwitch(t testing.TB) []string {
	t.Helper()
	var out []string
	rows := strings.Split(strings.TrimSpace(n.vsctl(t, "--format=csv", "--no-headings",
		"--", "--if-exists", "--columns=protocols,datapath_type,fail_mode,external_ids,other_config", "list", "bridge", ovsvxlan.DefaultBridge,
		"--", "--columns=name,ofport,type,options,external_ids", "list", "interface")), "\n")
	ids := rows[0]
	if !strings.Contains(ids, "OpenFlow15") {
		return nil
	}
	var replace []string
	for _, m := range zoneEntry.FindAllStringSubmatch(ids, -1) {
		name := "NET" + m[1]
		var zone int
		_, err := fmt.Sscan(m[2], &zone)
		must(t, err)
		a4, a6 := DefaultTransit4.Addr().Next(), DefaultTransit6.Addr().Next()
		for range zone {
			a4, a6 = a4.Next(), a6.Next()
		}
		replace = append(replace, "zone="+m[2]+",", "zone="+name+",", a4.String()+" ", name+" ", a4.String()+")", name+")",
			a6.String()+" ", name+" ", a6.String()+")", name+")", a6.String()+",", name+",", a4.String()+",", name+",")
		ids = strings.ReplaceAll(ids, m[0], "zone of "+name)
	}
	fields := strings.FieldsFunc(ids, func(r rune) bool { return strings.ContainsRune("{},\n", r) })
	for _, f := range fields {
		out = append(out, "bridge "+strings.TrimSpace(f))
	}
	names := map[string]string{}
	for _, line := range rows[1:] {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ",")
		number, rest, _ := strings.Cut(rest, ",")
		if strings.HasPrefix(name, "cnm") {
			names[number] = name
			out = append(out, "port "+name+" "+regexp.MustCompile(`libcnm-ifindex=""\d+""`).ReplaceAllString(rest, ""))
		}
	}
	mgmt := n.ovs.RunDir() + "/" + ovsvxlan.DefaultBridge + ".mgmt"
	p, err := ovsvxlan.ParseDump(
		[]byte(n.ofctl(t, "--no-names", "--no-stats", "dump-flows", mgmt)), []byte(n.ofctl(t, "--no-names", "dump-groups", mgmt)))
	must(t, err)
	named := func(text string) string {
		text = portNumber.ReplaceAllStringFunc(text, func(m string) string {
			i := strings.IndexAny(m, "=:") + 1
			number, tail, _ := strings.Cut(m[i:], "->")
			var v int
			if _, err := fmt.Sscan(number, &v); err != nil {
				t.Fatal(err)
			}
			if name, ok := names[fmt.Sprint(v)]; ok {
				return m[:i] + name + tail
			}
			return m
		})
		return strings.NewReplacer(replace...).Replace(text)
	}
	for _, f := range p.Flows() {
		out = append(out, fmt.Sprintf("flow %#x %s", f.Cookie, named(f.Named())))
	}
	for _, g := range p.Groups() {
		buckets := strings.Split(named(g.Spec), ",bucket=")
		slices.Sort(buckets[1:])
		out = append(out, fmt.Sprintf("group %d %s", g.ID, strings.Join(buckets, ",bucket=")))
	}
	return out
}

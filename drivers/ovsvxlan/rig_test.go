package ovsvxlan

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// node is a host in the test's own namespace: Open vSwitch, the VTEP address on br-phy.
type node struct {
	ovs   *testutil.OVS
	fw    Firewall
	rules func() []string // what fw has put on the host
	vtep  netip.Addr
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{ovs: testutil.StartOVS(t, testutil.OVSOptions{}), vtep: netip.MustParseAddr("192.0.2.1")}
	n.ovs.Vsctl(t, "add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type="+testutil.Datapath(), "fail_mode=standalone")
	home := testutil.HomeNS(t)
	home.AddAddr(t, "br-phy", netip.PrefixFrom(n.vtep, 24))
	home.LinkUp(t, "br-phy")
	n.fw = rig.NewFirewall(t)
	n.rules = func() []string { return rig.DumpRules(t) }
	return n
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
	rig.Must(t, err)
	t.Cleanup(func() {
		rig.Must(t, d.Sync(context.WithoutCancel(t.Context()), nil))
		rig.Must(t, d.Close())
		if left := n.dump(t); left != "" {
			t.Errorf("left on the host:\n%s", left)
		}
	})
	return d
}

// overlay is number n, always with the same two subnets: networks may overlap.
func overlay(n int) drivers.Network {
	nw := rig.Network(n)
	nw.VNI, nw.Subnets = uint32(n), rig.Subnets(1)
	return nw
}

// join brings an endpoint of a network up in a sandbox of its own.
func join(t testing.TB, d *Driver, n drivers.Network, host int) rig.Box {
	t.Helper()
	return rig.Join(t, d, rig.Endpoint(n, host, rig.NewPath(t), "eth0"))
}

// dump renders all that the driver has on this host and in the given sandboxes.
func (n *node) dump(t testing.TB, sandboxes ...string) string {
	t.Helper()
	out := slices.Concat(rig.DumpLinks(t), rig.DumpSandboxes(t, sandboxes...), dumpRoutes(t), n.dumpSwitch(t), n.rules())
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// dumpRoutes renders the host's routes of ours.
func dumpRoutes(t testing.TB) []string {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: 207}, netlink.RT_FILTER_PROTOCOL)
	rig.Must(t, err)
	var out []string
	for _, r := range routes {
		out = append(out, fmt.Sprintf("route %s mtu %d", r.Dst, r.MTU))
	}
	return out
}

var (
	zoneEntry  = regexp.MustCompile(`libcnm-zone-([0-9a-f]{32})=""(\d+)""`)
	linkIndex  = regexp.MustCompile(`libcnm-ifindex=""\d+""`)
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
		rig.Must(t, err)
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
			out = append(out, "port "+name+" "+linkIndex.ReplaceAllString(rest, ""))
		}
	}
	mgmt := n.ovs.RunDir() + "/" + ovsvxlan.DefaultBridge + ".mgmt"
	texts, err := rig.Outputs(
		exec.Command("ovs-ofctl", "-O", "OpenFlow15", "--no-names", "--no-stats", "dump-flows", mgmt),
		exec.Command("ovs-ofctl", "-O", "OpenFlow15", "--no-names", "dump-groups", mgmt))
	rig.Must(t, err)
	p, err := ovsvxlan.ParseDump([]byte(texts[0]), []byte(texts[1]))
	rig.Must(t, err)
	networks := strings.NewReplacer(replace...)
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
		return networks.Replace(text)
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

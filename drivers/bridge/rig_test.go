package bridge

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/iptables"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFirewall(t testing.TB) *iptables.Firewall {
	t.Helper()
	fw, err := iptables.New(iptables.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, fw.Close()) })
	return fw
}

// newDriver makes a driver, and leaves the host clean.
func newDriver(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Config{Firewall: newFirewall(t)})
	must(t, err)
	t.Cleanup(func() {
		must(t, d.Sync(context.WithoutCancel(t.Context()), nil))
		must(t, d.Close())
		if left := dump(t); left != "" {
			t.Errorf("left on the host:\n%s", left)
		}
	})
	return d
}

func id(n int) string { return fmt.Sprintf("%032x", n) }

// newNetwork returns the n-th network, dual stack.
func newTestNetwork(n int) drivers.Network {
	return drivers.Network{
		ID: drivers.NetworkID(id(n)), Name: fmt.Sprint("net", n), MTU: 1400,
		Subnets: []drivers.Subnet{
			{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", n)), Gateway: netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", n))},
			{Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", n)), Gateway: netip.MustParseAddr(fmt.Sprintf("fd00:%d::1", n))},
		},
	}
}

// box is a sandbox, configured as the controller does it.
type box struct {
	*testutil.NS
	path  string
	addrs []netip.Addr // IPv4, IPv6
}

func newPath(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	must(t, link.CreateNS(path))
	t.Cleanup(func() { must(t, link.DeleteNS(path)) })
	return path
}

func endpoint(n drivers.Network, host int, path, name string) drivers.Endpoint {
	ep := drivers.Endpoint{
		ID: drivers.EndpointID(id(1000*host + 1)), Network: n.ID, NetNS: path, Interface: name,
		MAC: drivers.MAC{2, 0x42, 0, 0, byte(host >> 8), byte(host)},
	}
	for _, s := range n.Subnets {
		raw := s.Prefix.Addr().AsSlice()
		raw[len(raw)-1] = byte(host)
		a, _ := netip.AddrFromSlice(raw) // always 4 or 16 bytes
		ep.Addrs = append(ep.Addrs, netip.PrefixFrom(a, s.Prefix.Bits()))
	}
	return ep
}

// join does what the controller does for Join.
func join(t testing.TB, d *Driver, n drivers.Network, host int, path, name string) box {
	t.Helper()
	ep := endpoint(n, host, path, name)
	a, err := d.ApplyEndpoint(t.Context(), ep)
	must(t, err)
	return configure(t, ep, a)
}

func configure(t testing.TB, ep drivers.Endpoint, a drivers.Attachment) box {
	t.Helper()
	must(t, tryConfigure(t.Context(), ep, a))
	b := box{NS: testutil.OpenNS(t, ep.NetNS), path: ep.NetNS}
	for _, p := range ep.Addrs {
		b.addrs = append(b.addrs, p.Addr())
	}
	return b
}

func tryConfigure(ctx context.Context, ep drivers.Endpoint, a drivers.Attachment) error {
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

// dump renders all that the driver has on this host, and what is in the given sandboxes.
func dump(t testing.TB, sandboxes ...string) string {
	t.Helper()
	var out []string
	h, err := netlink.NewHandle()
	must(t, err)
	defer h.Close()
	all, err := h.LinkList()
	must(t, err)
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range all {
		a := l.Attrs()
		if !strings.HasPrefix(a.Alias, link.DriverMark(Name)) && !strings.HasPrefix(a.Name, "cnm") || strings.HasPrefix(a.Alias, "bystander") {
			continue
		}
		mac := a.HardwareAddr.String()
		if l.Type() == "veth" {
			mac = "" // of the host end, which is the kernel's choice
		}
		line := fmt.Sprintf("link %s %s alias %s mtu %d %s master %s %s", a.Name, l.Type(), a.Alias, a.MTU, a.Flags, names[a.MasterIndex], mac)
		out = append(out, strings.ReplaceAll(line, "|running", "")) // the carrier comes in its own time
		addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
		must(t, err)
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				out = append(out, fmt.Sprintf("address %s %s", a.Name, addr.IPNet))
			}
		}
	}
	for i, path := range sandboxes {
		out = append(out, dumpSandbox(t, i, path)...)
	}
	out = append(out, dumpRules(t)...)
	slices.Sort(out)
	return strings.Join(out, "\n")
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

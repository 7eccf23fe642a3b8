package link

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// Two sandboxes on interfaces of a host that forwards and has no firewall at all.
func TestFencesKeepNetworksApart(t *testing.T) {
	host := testutil.NewNS(t)
	host.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	host.Sysctl(t, "net/ipv4/ip_forward", "1")
	host.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	ns, err := OpenNS(host.Path())
	must(t, err)
	h, err := Open(ns)
	must(t, err)
	t.Cleanup(func() {
		must(t, h.Close())
		must(t, ns.Close())
	})
	type place struct {
		ns      *testutil.NS
		addrs   []netip.Addr
		subnets []netip.Prefix
	}
	var places []place
	for i, name := range []string{"red", "blue", "free"} {
		p := place{ns: testutil.NewNS(t)}
		testutil.Connect(t, host, name, p.ns, "eth0")
		for _, base := range []string{"10.N.0.0/24", "fd0N::/64"} {
			prefix := netip.MustParsePrefix(strings.Replace(base, "N", string(rune('1'+i)), 1))
			gateway := prefix.Addr().Next()
			host.AddAddr(t, name, netip.PrefixFrom(gateway, prefix.Bits()))
			p.ns.AddAddr(t, "eth0", netip.PrefixFrom(gateway.Next(), prefix.Bits()))
			p.ns.AddRoute(t, netip.Prefix{}, gateway)
			p.addrs, p.subnets = append(p.addrs, gateway.Next()), append(p.subnets, prefix)
		}
		places = append(places, p)
	}
	red, blue, free := places[0], places[1], places[2]
	reaches := func(from, to place, want bool) {
		t.Helper()
		for _, a := range to.addrs {
			if _, err := testutil.Ping(t.Context(), from.ns, a); (err == nil) != want {
				t.Errorf("ping %s: %v, want an answer: %t", a, err, want)
			}
		}
	}
	all := func(Fence) bool { return true }
	reaches(red, blue, true)
	want := slices.Concat(FencesFor("red", red.subnets...), FencesFor("blue", blue.subnets...))
	must(t, h.SetFences(t.Context(), all, want))
	must(t, h.SetFences(t.Context(), all, want))
	have, err := h.Fences(t.Context())
	must(t, err)
	if len(have) != len(want) {
		t.Errorf("fences are %v, want %v", have, want)
	}
	reaches(red, blue, false)
	reaches(blue, red, false)
	reaches(red, free, true)
	reaches(free, red, true)

	// Somebody flushes the rules.
	if _, err := host.Command("ip", "rule", "del", "iif", "red", "table", "6516333").CombinedOutput(); err != nil {
		t.Fatal(err)
	}
	diffs, err := h.CheckFences(t.Context(), all, want)
	must(t, err)
	if text := lines(diffs); !strings.Contains(text, "fence for red 0.0.0.0/0") || len(diffs) != 1 {
		t.Errorf("differences are %s", text)
	}
	must(t, h.SetFences(t.Context(), all, want))
	reaches(red, blue, false)

	// Only the own ones go.
	must(t, h.SetFences(t.Context(), func(f Fence) bool { return f.Dev == "red" || slices.Contains(red.subnets, f.Dst) }, nil))
	have, err = h.Fences(t.Context())
	must(t, err)
	if len(have) != len(want)/2 || slices.ContainsFunc(have, func(f Fence) bool { return f.Dev == "red" }) {
		t.Errorf("fences are %v", have)
	}
	must(t, h.SetFences(t.Context(), all, nil))
	reaches(red, blue, true)
	if err := h.SetFences(t.Context(), all, []Fence{{"", netip.MustParsePrefix("0.0.0.0/0")}}); err == nil {
		t.Error("a fence around everything was accepted")
	}
}

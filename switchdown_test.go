package libcnm_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestSwitchDownAtStart: Open vSwitch does not run when the controller starts. Bridge networks are looked after all the
// same, and overlays come by themselves when it does.
func TestSwitchDownAtStart(t *testing.T) {
	ctx := t.Context()
	rig := testutil.NewHosts(t, 1, testutil.HostsOptions{})
	h := rig.Hosts[0]
	open := func() { // without etcd, which is behind the switch
		t.Helper()
		h.Start(t)
		must(t, h.Call(ctx, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP}, nil))
	}
	open()
	for _, driver := range []string{"bridge", "ovs-vxlan"} {
		must(t, h.Call(ctx, "network.create", nodeagent.Network{Driver: driver, Name: driver}, nil))
	}
	web := []member{newMember(t, h, "bridge", "web1"), newMember(t, h, "bridge", "web2")}
	blue := []member{newMember(t, h, "ovs-vxlan", "blue1"), newMember(t, h, "ovs-vxlan", "blue2")}
	must(t, errors.Join(reach(ctx, web[0].ns, web[1].addrs...), reach(ctx, blue[0].ns, blue[1].addrs...)))
	both, leaver := inBoth(t, h, "both"), inBoth(t, h, "leaver")
	before := routesAndNames(t, both)

	h.Kill9(t)
	h.OVS.KillVswitchd(t)
	h.OVS.KillOVSDB(t)
	h.FlushRules(t)
	open()
	must(t, reach(ctx, web[0].ns, web[1].addrs...))
	late := newMember(t, h, "bridge", "late")
	must(t, reach(ctx, late.ns, web[0].addrs...))
	var stats libcnm.Stats
	must(t, h.Call(ctx, "stats", nil, &stats))
	if why := stats.Unusable["ovs-vxlan"]; why == "" || len(stats.Unusable) != 1 {
		t.Errorf("unusable drivers: %v", stats.Unusable)
	}
	var drift []string
	must(t, h.Call(ctx, "check", nil, &drift))
	if !strings.Contains(strings.Join(drift, "\n"), "driver ovs-vxlan") {
		t.Errorf("Check says %q", drift)
	}
	ep := nodeagent.Endpoint{Network: "ovs-vxlan", Name: "never"}
	must(t, h.Call(ctx, "endpoint.create", ep, nil))
	err := h.Call(ctx, "join", nodeagent.Join{Endpoint: ep, Container: "late"}, nil)
	if err == nil || !strings.Contains(err.Error(), libcnm.ErrUnavailable.Error()) {
		t.Errorf("join of an overlay without a switch: %v", err)
	}
	if err := h.Call(ctx, "reconcile", nil, nil); err == nil {
		t.Error("Reconcile without a switch succeeded")
	}
	if now := routesAndNames(t, both); now != before {
		t.Errorf("of the container in both networks there is\n%s\nbefore the overlay's switch was away\n%s", now, before)
	}
	// What leaves meanwhile gives up its name, and the default route, though its interface cannot be removed from the switch.
	left := nodeagent.Join{Endpoint: nodeagent.Endpoint{Network: "ovs-vxlan", Name: "leaver"}, Container: "leaver"}
	if err := h.Call(ctx, "leave", left, nil); err != nil && !strings.Contains(err.Error(), libcnm.ErrUnavailable.Error()) {
		t.Errorf("leave of an overlay without a switch: %v", err)
	}
	if now := routesAndNames(t, leaver); strings.Contains(now, leaver.addrs[0].String()) || strings.Count(now, "dev eth1") != 2 {
		t.Errorf("of the container that left the overlay there is\n%s", now)
	}

	pinger := testutil.StartPinger(t, web[0].ns, web[1].addrs[0], 20*time.Millisecond)
	h.OVS.StartOVSDB(t)
	h.OVS.StartVswitchd(t)
	start := time.Now()
	testutil.Eventually(t, settle, func() error {
		return errors.Join(reach(ctx, blue[0].ns, blue[1].addrs...), reach(ctx, blue[1].ns, rig.Outside4))
	})
	took := time.Since(start)
	if took > 5*time.Second {
		t.Errorf("overlay works %v after its switch", took)
	}
	healthy(t, rig)
	if now := routesAndNames(t, both); now != before {
		t.Errorf("of the container in both networks there is in the end\n%s\nat first\n%s", now, before)
	}
	seen, err := pinger.Stop()
	if err != nil || seen.Received < seen.Sent {
		t.Errorf("bystanders: %s, %v", seen, err)
	}
	must(t, h.Call(ctx, "join", nodeagent.Join{Endpoint: ep, Container: "late"}, nil))
	report.Add(t, report.Figures{Faults: 1, WorstRepair: took, Lost: seen.Sent - seen.Received})
}

// inBoth makes a container whose way out is an overlay and that is in a bridge network too.
func inBoth(t *testing.T, h *testutil.Host, name string) member {
	t.Helper()
	m := newMember(t, h, "ovs-vxlan", name)
	second := nodeagent.Endpoint{Network: "bridge", Name: name}
	must(t, h.Call(t.Context(), "endpoint.create", second, nil))
	must(t, h.Call(t.Context(), "join", nodeagent.Join{Endpoint: second, Container: name}, nil))
	return m
}

// routesAndNames are the IPv4 and IPv6 routes of libcnm in a container, and its hosts file.
func routesAndNames(t *testing.T, m member) string {
	t.Helper()
	var text strings.Builder
	for _, family := range []string{"-4", "-6"} {
		out, err := m.ns.Command("ip", family, "route", "show", "proto", "207").CombinedOutput()
		must(t, err)
		text.Write(out)
	}
	text.WriteString(m.host.Run(t, "sh", "-c", "cat $(grep -l "+m.name+" /run/libcnm/sandboxes/*/hosts)"))
	return text.String()
}

// TestAddressGoesFromHostToHost: an address has one owner after another, each with a MAC of its own.
func TestAddressGoesFromHostToHost(t *testing.T) {
	ctx := t.Context()
	rig := newHosts(t, 2, testutil.HostsOptions{})
	subnets := []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")}
	must(t, rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{Driver: "ovs-vxlan", Name: "blue", Subnets: subnets}, nil))
	watcher := newMember(t, rig.Hosts[0], "blue", "watcher")
	wanted := []netip.Addr{addr("10.1.0.77"), addr("fd01::77")}
	var worst time.Duration
	for i, h := range []*testutil.Host{rig.Hosts[1], rig.Hosts[0], rig.Hosts[1], rig.Hosts[1], rig.Hosts[0]} {
		name := fmt.Sprint("owner", i)
		m := newMember(t, h, "blue", name, wanted...)
		start := time.Now()
		testutil.Eventually(t, settle, func() error { return reach(ctx, watcher.ns, m.addrs...) })
		worst = max(worst, time.Since(start))
		must(t, h.Call(ctx, "endpoint.delete", nodeagent.Endpoint{Network: "blue", Name: name, Force: true}, nil))
	}
	t.Logf("a neighbour that remembers another MAC reached the new owner after at most %v", worst.Round(time.Millisecond))
	if worst > 2*time.Second {
		t.Errorf("the new owner was reached after %v", worst)
	}
}

package libcnm_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestDeadNodeOnHosts kills a node's controller on real hosts, so that its sandboxes go on: what peers drop, what is freed
// and given to another, and what becomes of it when the node returns. Others lose no packet.
func TestDeadNodeOnHosts(t *testing.T) {
	const ttl = 3 * time.Second
	ctx := t.Context()
	rig := testutil.NewHosts(t, 3, testutil.HostsOptions{EtcdMembers: 1})
	open := func(h *testutil.Host) {
		t.Helper()
		must(t, h.Call(ctx, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: rig.Etcd.Endpoints(), TTL: ttl}, nil))
	}
	for _, h := range rig.Hosts {
		h.Start(t)
		open(h)
	}
	must(t, rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{
		Driver: "ovs-vxlan", Name: "blue", Subnets: []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")},
	}, nil))
	a, dead, b := newMember(t, rig.Hosts[0], "blue", "a"), newMember(t, rig.Hosts[1], "blue", "dead"), newMember(t, rig.Hosts[2], "blue", "b")
	neighbour, beside := newMember(t, rig.Hosts[1], "blue", "neighbour"), newMember(t, rig.Hosts[0], "blue", "beside")
	for _, to := range []member{dead, b, neighbour, beside} {
		testutil.Eventually(t, settle, func() error { return reach(ctx, a.ns, to.addrs...) })
	}
	lost := 0
	ping := func(to member) (stop func()) {
		var pingers []*testutil.Pinger
		for _, at := range to.addrs {
			pingers = append(pingers, testutil.StartPinger(t, a.ns, at, 20*time.Millisecond))
		}
		return func() {
			for _, p := range pingers {
				stats, err := p.Stop()
				if err != nil || stats.Received < stats.Sent {
					t.Errorf("bystander %s: %s, %v", to.name, stats, err)
				}
				lost += stats.Sent - stats.Received
			}
		}
	}
	within, across := ping(beside), ping(b)
	nodes := func(h *testutil.Host) string {
		t.Helper()
		var list []struct {
			Name      string
			Alive     bool
			Endpoints int
		}
		must(t, h.Call(ctx, "nodes", nil, &list))
		return fmt.Sprint(list)
	}
	h0 := rig.Hosts[0]
	alive := fmt.Sprintf("[{%s true 2} {%s true 2} {%s true 1}]", h0.Name, rig.Hosts[1].Name, rig.Hosts[2].Name)
	gone := fmt.Sprintf("[{%s true 2} {%s false 2} {%s true 1}]", h0.Name, rig.Hosts[1].Name, rig.Hosts[2].Name)
	if got := nodes(h0); got != alive {
		t.Errorf("nodes %s, want %s", got, alive)
	}

	rig.Hosts[1].Kill9(t)
	start := time.Now()
	if err := h0.Call(ctx, "release", rig.Hosts[1].Name, nil); err == nil {
		t.Error("a node was released while its lease lived")
	}
	testutil.Eventually(t, 10*ttl, func() error {
		if got := nodes(h0); got != gone {
			return fmt.Errorf("nodes %s, want %s", got, gone)
		}
		return nil
	})
	ended := time.Since(start)
	must(t, reach(ctx, a.ns, dead.addrs...)) // it is given time, and its data plane runs on
	unreachable := func(from, to member) {
		t.Helper()
		testutil.Eventually(t, settle, func() error {
			if err := reach(ctx, from.ns, to.addrs[0]); err == nil {
				return fmt.Errorf("%s still reaches %s", from.name, to.name)
			}
			return nil
		})
	}
	unreachable(a, dead)
	t.Logf("lease ended %v after the kill, peers dropped the node after %v", ended.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	unreachable(b, dead)

	// Its addresses are another's, at once and on another host, while it still sends with them.
	must(t, h0.Call(ctx, "release", rig.Hosts[1].Name, nil))
	old := mac(t, dead)
	across() // the switch itself loses tunnel packets when a host gets new links
	stale := testutil.StartCapture(t, a.ns, "eth0", func(f testutil.Frame) bool {
		return f.IPSrc == dead.addrs[0] && f.Src.String() == old
	})
	heir := newMember(t, rig.Hosts[2], "blue", "heir", dead.addrs...)
	testutil.Eventually(t, settle, func() error { return reach(ctx, a.ns, heir.addrs...) })
	if err := reach(ctx, dead.ns, a.addrs[0]); err == nil {
		t.Error("the released endpoint reaches its old network")
	}

	// The node returns: nothing of the old endpoint is left in its sandbox, which can be used again.
	rig.Hosts[1].Start(t)
	open(rig.Hosts[1])
	var boxes []nodeagent.Sandbox
	must(t, rig.Hosts[1].Call(ctx, "sandbox.list", nil, &boxes))
	if len(boxes) != 2 || len(boxes[0].Endpoints)+len(boxes[1].Endpoints) != 0 {
		t.Errorf("sandboxes of the node that returned: %+v", boxes)
	}
	if err := reach(ctx, dead.ns, heir.addrs[0]); err == nil {
		t.Error("the sandbox still has an interface")
	}
	must(t, reach(ctx, a.ns, heir.addrs...))
	if n := stale.Count(); n > 0 {
		t.Errorf("%d packets of the released endpoint arrived", n)
	}
	ep := nodeagent.Endpoint{Network: "blue", Name: "again"}
	must(t, rig.Hosts[1].Call(ctx, "endpoint.create", ep, nil))
	must(t, rig.Hosts[1].Call(ctx, "join", nodeagent.Join{Endpoint: ep, Container: "dead"}, nil))
	healthy(t, rig)

	within()
	report.Add(t, report.Figures{Faults: 1, Lost: lost})
}

// mac is the address of the member's interface.
func mac(t *testing.T, m member) string {
	t.Helper()
	link, err := m.ns.Netlink().LinkByName("eth0")
	must(t, err)
	return link.Attrs().HardwareAddr.String()
}

package libcnm_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

// newHosts builds hosts with a controller process each, on one etcd.
func newHosts(t *testing.T, n int, opts testutil.HostsOptions) *testutil.Rig {
	t.Helper()
	opts.EtcdMembers = 1
	rig := testutil.NewHosts(t, n, opts)
	for _, h := range rig.Hosts {
		h.Start(t)
		openController(t, rig, h)
	}
	return rig
}

func openController(t *testing.T, rig *testutil.Rig, h *testutil.Host) {
	t.Helper()
	must(t, h.Call(t.Context(), "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: rig.Etcd.Endpoints()}, nil))
}

// member is a sandbox with one endpoint on a host of the rig.
type member struct {
	host  *testutil.Host
	name  string
	ns    *testutil.NS
	addrs []netip.Addr
}

func newMember(t *testing.T, h *testutil.Host, network, name string, addrs ...netip.Addr) member {
	t.Helper()
	ctx := t.Context()
	ep := nodeagent.Endpoint{Network: network, Name: name, Addrs: addrs}
	must(t, h.Call(ctx, "endpoint.create", ep, nil))
	var sb nodeagent.Sandbox
	must(t, h.Call(ctx, "sandbox.create", name, &sb))
	return joinMember(t, h, ep, sb.Key)
}

func joinMember(t *testing.T, h *testutil.Host, ep nodeagent.Endpoint, key string) member {
	t.Helper()
	var info struct{ Addresses []netip.Prefix }
	must(t, h.Call(t.Context(), "join", nodeagent.Join{Endpoint: ep, Container: ep.Name}, &info))
	m := member{host: h, name: ep.Name, ns: h.OpenNS(t, key)}
	for _, p := range info.Addresses {
		m.addrs = append(m.addrs, p.Addr())
	}
	return m
}

// healthy fails the test if a host differs from its desired state.
func healthy(t *testing.T, rig *testutil.Rig) {
	t.Helper()
	for _, h := range rig.Hosts {
		testutil.Eventually(t, settle, func() error {
			var found []string
			if err := h.Call(t.Context(), "check", nil, &found); err != nil {
				return err
			}
			if len(found) > 0 {
				return fmt.Errorf("host %s: %q", h.Name, found)
			}
			return nil
		})
	}
}

func TestOverlayAcrossHosts(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 underlay %v", v6), func(t *testing.T) { overlayAcrossHosts(t, v6) })
	}
}

func overlayAcrossHosts(t *testing.T, v6 bool) {
	ctx := t.Context()
	rig := newHosts(t, 2, testutil.HostsOptions{IPv6Underlay: v6})
	subnets := []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")}
	for _, name := range []string{"blue", "green"} {
		must(t, rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{Driver: "ovs-vxlan", Name: name, Subnets: subnets}, nil))
	}
	var blue, green []member
	for i, h := range rig.Hosts {
		blue = append(blue, newMember(t, h, "blue", fmt.Sprint("blue", i)), newMember(t, h, "blue", fmt.Sprint("azure", i)))
		green = append(green, newMember(t, h, "green", fmt.Sprint("green", i)))
	}
	// Within a network everyone reaches everyone, at once: Join has returned on both sides, and the watch on the way.
	for _, from := range blue {
		for _, to := range blue {
			testutil.Eventually(t, settle, func() error { return reach(ctx, from.ns, to.addrs...) })
		}
	}
	for _, to := range green[1].addrs {
		testutil.Eventually(t, settle, func() error { return reach(ctx, green[0].ns, to) })
	}
	// Green has the first two addresses of the subnet, blue four: those beyond do not exist in green.
	var wg sync.WaitGroup
	for _, to := range append(blue[2].addrs, blue[3].addrs...) {
		for _, from := range green {
			wg.Go(func() {
				if err := reach(ctx, from.ns, to); err == nil {
					t.Errorf("%s in green reaches %s in blue", from.name, to)
				}
			})
		}
	}
	wg.Wait()
	// Out into the world, through the gateway of each host.
	for _, from := range append(blue, green...) {
		must(t, errors.Join(reach(ctx, from.ns, rig.Outside4), reach(ctx, from.ns, rig.Outside6)))
	}
	healthy(t, rig)

	// A container moves, with its addresses, to the other host.
	moving := nodeagent.Endpoint{Network: "blue", Name: "blue0"}
	must(t, rig.Hosts[0].Call(ctx, "leave", nodeagent.Join{Endpoint: moving, Container: "blue0"}, nil))
	var sb nodeagent.Sandbox
	must(t, rig.Hosts[1].Call(ctx, "sandbox.create", "blue0", &sb))
	moved := joinMember(t, rig.Hosts[1], moving, sb.Key)
	if fmt.Sprint(moved.addrs) != fmt.Sprint(blue[0].addrs) {
		t.Errorf("addresses changed from %s to %s", blue[0].addrs, moved.addrs)
	}
	for _, from := range blue[1:] {
		testutil.Eventually(t, settle, func() error { return reach(ctx, from.ns, moved.addrs...) })
	}
	// The controller of the other host dies and comes back.
	rig.Hosts[1].Restart(t)
	must(t, reach(ctx, blue[1].ns, moved.addrs...))
	openController(t, rig, rig.Hosts[1])
	must(t, reach(ctx, blue[1].ns, moved.addrs...))
	healthy(t, rig)
}

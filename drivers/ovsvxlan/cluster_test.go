package ovsvxlan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// cluster is a number of hosts with a controller each. The test plays the store: it tells every host of the others'
// endpoints.
type cluster struct {
	*testutil.Rig
	states    []map[drivers.NetworkID]*drivers.NetworkState // by host
	sandboxes [][]string
}

func newCluster(t *testing.T, n int, opts testutil.HostsOptions) *cluster {
	t.Helper()
	c := &cluster{Rig: testutil.NewHosts(t, n, opts), sandboxes: make([][]string, n)}
	for i, h := range c.Hosts {
		c.states = append(c.states, map[drivers.NetworkID]*drivers.NetworkState{})
		h.Start(t)
		c.call(t, i, "start", h.VTEP)
		t.Cleanup(func() {
			if err := h.Call(t.Context(), "remove", c.sandboxes[i], nil); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		})
	}
	return c
}

func (c *cluster) call(t *testing.T, host int, method string, params any) {
	t.Helper()
	if err := c.Hosts[host].Call(t.Context(), method, params, nil); err != nil {
		t.Fatal(err)
	}
}

// join brings an endpoint up on a host; number is its host part in every subnet. It tells nobody.
func (c *cluster) join(t *testing.T, host int, n drivers.Network, number int) rig.Box {
	t.Helper()
	s := c.states[host][n.ID]
	if s == nil {
		s = &drivers.NetworkState{Network: n}
		c.states[host][n.ID] = s
		c.call(t, host, "network", n)
	}
	ep := rig.Endpoint(n, number, fmt.Sprintf("/run/netns/net%d-%d", n.VNI, number), "eth0")
	c.call(t, host, "join", ep)
	s.Endpoints = append(s.Endpoints, ep)
	c.sandboxes[host] = append(c.sandboxes[host], ep.NetNS)
	return rig.NewBox(c.Hosts[host].OpenNS(t, ep.NetNS), ep)
}

// tell makes every host know the others' endpoints, and waits until tunnels can be used at once.
func (c *cluster) tell(t *testing.T) {
	t.Helper()
	for i := range c.Hosts {
		for id, s := range c.states[i] {
			s.Peers, s.Members = nil, nil
			for j, other := range c.Hosts {
				theirs := c.states[j][id]
				if i == j || theirs == nil {
					continue
				}
				s.Members = append(s.Members, drivers.Member{Node: other.Name, VTEP: other.VTEP, MTU: 1500})
				for k, ep := range theirs.Endpoints {
					p := drivers.Peer{Endpoint: ep.ID, MAC: ep.MAC, VTEP: other.VTEP, Generation: uint64(k + 1)}
					for _, a := range ep.Addrs {
						p.Addrs = append(p.Addrs, a.Addr())
					}
					s.Peers = append(s.Peers, p)
				}
			}
			c.call(t, i, "peers", peersOf{id, drivers.PeerUpdate{Full: true, Set: s.Peers, Members: s.Members}})
		}
		if testutil.KernelDatapath() {
			continue // the host's own neighbour table is asked, which makes packets wait
		}
		for _, m := range c.members(i) {
			testutil.Eventually(t, 10*time.Second, func() error {
				if known := c.Hosts[i].OVS.Appctl(t, "tnl/neigh/show"); !strings.Contains(known, m.String()+" ") {
					return fmt.Errorf("%s does not know the MAC of %s:\n%s", c.Hosts[i].Name, m, known)
				}
				return nil
			})
		}
	}
}

func (c *cluster) members(host int) []netip.Addr {
	var out []netip.Addr
	for _, s := range c.states[host] {
		for _, m := range s.Members {
			out = append(out, m.VTEP)
		}
	}
	return out
}

func (c *cluster) want(host int) []drivers.NetworkState {
	var out []drivers.NetworkState
	for _, s := range c.states[host] {
		out = append(out, *s)
	}
	return out
}

func exchange(t *testing.T, from, to rig.Box) {
	t.Helper()
	for _, a := range to.Addrs {
		if err := testutil.TryTCP(t.Context(), from.NS, testutil.StartEcho(t, to.NS, netip.AddrPortFrom(a, 0))); err != nil {
			t.Error(err)
		}
	}
}

// Two networks with the same subnet on two hosts: everyone reaches his own network, also by the first packet, and
// nobody the other, with and without the hosts' firewalls.
func TestAcrossHosts(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6Underlay=%v", v6), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2, testutil.HostsOptions{IPv6Underlay: v6})
			blue, green := overlay(1), overlay(2)
			tunnelled := c.Hosts[0].Capture(t, func(f testutil.Frame) bool { return f.VNI != 0 })
			b1, b2 := c.join(t, 0, blue, 2), c.join(t, 1, blue, 3)
			g1, g2 := c.join(t, 0, green, 4), c.join(t, 1, green, 5)
			c.tell(t)
			check := func() {
				t.Helper()
				rig.Reach(t, b1.NS, b2.Addrs...)
				rig.Reach(t, g2.NS, g1.Addrs...)
				rig.NoReach(t, b1.NS, append(g2.Addrs, g1.Addrs...)...)
				rig.NoReach(t, g2.NS, append(b1.Addrs, b2.Addrs...)...)
			}
			check()
			exchange(t, b1, b2)
			exchange(t, g2, g1)
			mtu := 1450
			if v6 {
				mtu = 1430
			}
			for _, a := range b2.Addrs {
				if _, err := testutil.PingSize(t.Context(), b1.NS, a, mtu); err != nil {
					t.Errorf("a packet of %d bytes: %v", mtu, err)
				}
			}
			for _, h := range c.Hosts {
				h.FlushRules(t)
			}
			check()
			for _, f := range tunnelled.Frames() {
				if f.VNI != blue.VNI && f.VNI != green.VNI {
					t.Errorf("a frame with VNI %d on the underlay", f.VNI)
				}
			}
			if tunnelled.Count() == 0 {
				t.Error("nothing was tunnelled")
			}
		})
	}
}

// Egress by the anycast gateway: out under the host's address, in only as an answer, and with the networks' own MTU.
func TestEgress(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, testutil.HostsOptions{})
	inside, small, internal := overlay(1), overlay(2), overlay(3)
	small.MTU, internal.Internal = 1300, true
	a, b, i := c.join(t, 0, inside, 2), c.join(t, 0, small, 2), c.join(t, 0, internal, 2)
	outside := []netip.Addr{c.Outside4, c.Outside6}
	host := c.Hosts[0]
	for _, from := range []rig.Box{a, b} {
		rig.Reach(t, from.NS, append(outside, rig.Addr(inside.Subnets[0], 1), rig.Addr(inside.Subnets[1], 1))...)
		for _, to := range outside {
			if err := testutil.TryTCP(t.Context(), from.NS, testutil.StartEcho(t, c.Outside, netip.AddrPortFrom(to, 0))); err != nil {
				t.Error(err)
			}
		}
	}
	rig.NoReach(t, i.NS, outside...)
	for _, to := range outside {
		if rate, err := testutil.Transfer(t.Context(), b.NS, c.Outside, to, 100*time.Millisecond); err != nil || rate.Bytes == 0 {
			t.Errorf("transfer out of the network with the small MTU: %v, %v", rate, err)
		}
	}
	// The host sees transit addresses only, and cannot open anything to them; nor can another network.
	transit := []netip.Addr{DefaultTransit4.Addr().Next().Next(), DefaultTransit6.Addr().Next().Next()}
	rig.NoReach(t, host.NS, append(transit, a.Addrs...)...)
	rig.NoReach(t, b.NS, append(transit, DefaultTransit4.Addr().Next(), DefaultTransit6.Addr().Next())...)
	if routes := host.Run(t, "ip", "route") + host.Run(t, "ip", "-6", "route"); strings.Contains(routes, "10.1.0.0") || strings.Contains(routes, "fd00:1:") {
		t.Errorf("the host has a route into a network:\n%s", routes)
	} else if strings.Count(routes, "mtu 1300") != 2 {
		t.Errorf("routes do not hold the small MTU of both families:\n%s", routes)
	}
	// Without the firewall's second translation nothing comes back; Check says so, Sync repairs.
	host.FlushRules(t)
	var drift []drivers.Drift
	if err := host.Call(t.Context(), "check", c.want(0), &drift); err != nil || len(drift) == 0 {
		t.Errorf("check of a flushed firewall: %v, %v", drift, err)
	}
	rig.NoReach(t, a.NS, outside...)
	c.call(t, 0, "sync", c.want(0))
	testutil.Eventually(t, 5*time.Second, func() error {
		_, err := testutil.Ping(t.Context(), a.NS, c.Outside4)
		return err
	})
}

// A controller that is killed leaves the traffic alone, and so does the next one, which finds everything as it was.
func TestControllerRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, testutil.HostsOptions{})
	n := overlay(1)
	a, b := c.join(t, 0, n, 2), c.join(t, 1, n, 3)
	c.tell(t)
	rig.Reach(t, a.NS, b.Addrs...)
	pingers := []*testutil.Pinger{
		testutil.StartPinger(t, a.NS, b.Addrs[0], 10*time.Millisecond),
		testutil.StartPinger(t, a.NS, b.Addrs[1], 10*time.Millisecond),
		testutil.StartPinger(t, a.NS, c.Outside4, 10*time.Millisecond),
	}
	c.Hosts[0].Restart(t)
	c.call(t, 0, "start", c.Hosts[0].VTEP)
	c.call(t, 0, "sync", c.want(0))
	var drift []drivers.Drift
	if err := c.Hosts[0].Call(t.Context(), "check", c.want(0), &drift); err != nil || len(drift) > 0 {
		t.Errorf("drift after a restart: %v, %v", drift, err)
	}
	for _, p := range pingers {
		if stats, err := p.Stop(); err != nil || stats.Received != stats.Sent {
			t.Errorf("traffic suffered: %v, %v", stats, err)
		}
	}
}

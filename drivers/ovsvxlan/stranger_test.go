package ovsvxlan

import (
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// The first packet of an endpoint that the other host has not heard of waits there for the news and is answered then. The
// second endpoint on its host is the harder case: the tunnel is in use, and so are the switch's cached decisions.
func TestFirstPacketBeforeTheNews(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6Underlay=%v", v6), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2, testutil.HostsOptions{IPv6Underlay: v6})
			n := overlay(1)
			known, first := c.join(t, 0, n, 2), c.join(t, 1, n, 3)
			c.tell(t)
			rig.Reach(t, first.NS, known.Addrs...)
			arrived := c.Hosts[0].Capture(t, func(f testutil.Frame) bool { return f.VNI == n.VNI })
			fresh := c.join(t, 1, n, 4)
			answered := make(chan error, len(known.Addrs))
			for _, a := range known.Addrs {
				go func() {
					_, err := testutil.Ping(t.Context(), fresh.NS, a)
					answered <- err
				}()
			}
			testutil.Eventually(t, 10*time.Second, func() error {
				if got := arrived.Count(); got < len(known.Addrs) {
					return fmt.Errorf("%d packets have arrived, want %d", got, len(known.Addrs))
				}
				return nil
			})
			c.tell(t)
			for range known.Addrs {
				if err := <-answered; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// To hold a packet is not to admit it: what a node says in the name of another's endpoint, or of nobody, is dropped when
// the news says so, or never comes.
func TestHeldPacketOfAnImpostor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, testutil.HostsOptions{})
	n := overlay(1)
	known, first, other := c.join(t, 0, n, 2), c.join(t, 1, n, 3), c.join(t, 2, n, 5)
	c.tell(t)
	rig.Reach(t, known.NS, append(first.Addrs, other.Addrs...)...)
	arrived := c.Hosts[0].Capture(t, func(f testutil.Frame) bool { return f.VNI == n.VNI })
	impostor := c.join(t, 1, n, 4) // which host 0 is told is on host 2
	answered := make(chan error, len(known.Addrs))
	for _, a := range known.Addrs {
		go func() {
			if _, err := testutil.Ping(t.Context(), impostor.NS, a); err == nil {
				answered <- fmt.Errorf("%s answered an impostor", a)
				return
			}
			answered <- nil
		}()
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		if got := arrived.Count(); got < len(known.Addrs) {
			return fmt.Errorf("%d packets have arrived, want %d", got, len(known.Addrs))
		}
		return nil
	})
	s := c.states[1][n.ID]
	s.Endpoints = s.Endpoints[:len(s.Endpoints)-1]
	ep := rig.Endpoint(n, 4, "", "eth0")
	p := drivers.Peer{Endpoint: ep.ID, MAC: ep.MAC, Addrs: impostor.Addrs, VTEP: c.Hosts[2].VTEP, Generation: 9}
	members := c.states[0][n.ID].Members
	c.call(t, 0, "peers", peersOf{n.ID, drivers.PeerUpdate{Set: []drivers.Peer{p}, Members: members}})
	for range known.Addrs {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

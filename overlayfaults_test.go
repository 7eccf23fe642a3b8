package libcnm_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestNoOpenVSwitch: an overlay network can be made on a host without OVS, but not joined.
func TestNoOpenVSwitch(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1", libcnm.WithOVSDB("unix:"+filepath.Join(t.TempDir(), "absent.sock")))
	c := f.open(t)
	n, err := c.NewNetwork(ctx, "ovs-vxlan", "blue")
	must(t, err)
	ep, sb := newEndpoint(t, n, "a"), newSandbox(t, c, "container1")
	bounded, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	wantErr(t, ep.Join(bounded, sb), libcnm.ErrUnavailable, "a", "absent.sock")
	if info := ep.Info(); info.Node != "" || len(sb.Endpoints()) != 0 {
		t.Errorf("after a refused join: %+v", info)
	}
	must(t, ep.Delete(ctx))
	must(t, n.Delete(ctx))
}

// TestNothingIsHeldAfterClose joins endpoints of every kind and looks for goroutines and descriptors after Close.
func TestNothingIsHeldAfterClose(t *testing.T) {
	ctx := t.Context()
	etcd := testutil.StartEtcd(t, testutil.EtcdOptions{})
	t.Run("controller", func(t *testing.T) {
		testutil.NoLeaks(t)
		c := newFixture(t, "node1", libcnm.WithEtcd(etcd.Config())).open(t)
		sb, err := c.NewSandbox(ctx, "container1")
		must(t, err)
		for _, driver := range []string{"bridge", "fake", "fakenet"} {
			n, err := c.NewNetwork(ctx, driver, driver)
			must(t, err)
			must(t, newEndpoint(t, n, "a").Join(ctx, sb))
		}
		must(t, sb.Delete(ctx))
		for _, driver := range []string{"bridge", "fake", "fakenet"} {
			n := mustNetwork(t, c, driver)
			ep, err := n.EndpointByName(ctx, "a")
			must(t, err)
			must(t, ep.Delete(ctx))
			must(t, n.Delete(ctx))
		}
		must(t, c.Close())
	})
}

// TestForgedTunnelPackets sends VXLAN packets that are right in every part but their origin. None may arrive; the same
// bytes do once the guard against them is flushed and nobody restores it.
func TestForgedTunnelPackets(t *testing.T) {
	ctx := t.Context()
	rig := newHosts(t, 3, testutil.HostsOptions{})
	must(t, rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{
		Driver: "ovs-vxlan", Name: "blue", Subnets: []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")},
	}, nil))
	a, b := newMember(t, rig.Hosts[0], "blue", "a"), newMember(t, rig.Hosts[1], "blue", "b")
	testutil.Eventually(t, settle, func() error { return reach(ctx, a.ns, b.addrs...) })
	forged := forge(t, rig.Hosts[1], a, b)

	const port = 9999
	arrived := testutil.StartCapture(t, b.ns, "eth0", func(f testutil.Frame) bool { return f.Protocol == 17 && f.DstPort == port })
	target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(rig.Hosts[1].VTEP, 4789))
	send := func(from *testutil.NS) error {
		return from.Do(func() error {
			conn, err := net.DialUDP("udp", nil, target)
			if err != nil {
				return err
			}
			_, err = conn.Write(forged)
			return errors.Join(err, conn.Close())
		})
	}
	for what, from := range map[string]*testutil.NS{
		"a user's process on a member": rig.Hosts[0].NS,
		"a node that is no member":     rig.Hosts[2].NS,
		"outside":                      rig.Outside,
		"a sandbox of the network":     a.ns,
	} {
		for range 20 {
			if err := send(from); err != nil && !errors.Is(err, syscall.EPERM) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	// Whatever was sent before this ping has arrived before it.
	must(t, reach(ctx, a.ns, b.addrs...))
	must(t, reach(ctx, rig.Outside, rig.Hosts[1].VTEP))
	if n := arrived.Count(); n != 0 {
		t.Errorf("%d forged packets arrived", n)
	}
	rig.Hosts[0].Kill9(t)
	rig.Hosts[0].FlushRules(t)
	testutil.Eventually(t, settle, func() error {
		if err := send(rig.Hosts[0].NS); err != nil {
			return err
		}
		if arrived.Count() == 0 {
			return errors.New("the control does not arrive: the forgery is wrong, and the test shows nothing")
		}
		return nil
	})
}

// forge makes a VXLAN packet's payload as if it carried a UDP datagram from a to b, after a real packet of theirs.
func forge(t *testing.T, at *testutil.Host, a, b member) []byte {
	t.Helper()
	capture := at.Capture(t, func(f testutil.Frame) bool { return f.Inner != nil && f.Inner.IPDst == b.addrs[0] })
	must(t, reach(t.Context(), a.ns, b.addrs[0]))
	testutil.Eventually(t, settle, func() error {
		if capture.Count() == 0 {
			return errors.New("no tunnel packet seen")
		}
		return nil
	})
	real := capture.Frames()[0]
	payload := []byte("forged")
	header := make([]byte, 8, 128) // RFC 7348, section 5
	header[0] = 8
	binary.BigEndian.PutUint32(header[4:], real.VNI<<8)
	packet := slices.Concat(header, real.Inner.Dst, real.Inner.Src, []byte{8, 0})

	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+8+len(payload)))
	copy(ip[12:], a.addrs[0].AsSlice())
	copy(ip[16:], b.addrs[0].AsSlice())
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	udp := make([]byte, 8) // without a checksum, which IPv4 allows
	binary.BigEndian.PutUint16(udp, 9999)
	binary.BigEndian.PutUint16(udp[2:], 9999)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)+len(payload)))
	return slices.Concat(packet, ip, udp, payload)
}

// TestTrafficNeverStops kills the controllers at rest while pings run, restarts them, and counts what was lost.
func TestTrafficNeverStops(t *testing.T) {
	ctx := t.Context()
	rig := newHosts(t, 2, testutil.HostsOptions{})
	must(t, rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{Driver: "ovs-vxlan", Name: "blue"}, nil))
	a, b := newMember(t, rig.Hosts[0], "blue", "a"), newMember(t, rig.Hosts[1], "blue", "b")
	testutil.Eventually(t, settle, func() error { return reach(ctx, a.ns, b.addrs...) })
	before := sandboxes(t, rig)

	pinging, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var sent, lost atomic.Int64
	for _, to := range b.addrs {
		wg.Go(func() {
			for pinging.Err() == nil {
				_, err := testutil.Ping(ctx, a.ns, to)
				sent.Add(1)
				if err != nil {
					lost.Add(1)
				}
			}
		})
	}
	for range 3 {
		for _, h := range rig.Hosts {
			h.Restart(t) // kill -9, and a new process
			openController(t, rig, h)
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d pings during 6 restarts, %d lost", sent.Load(), lost.Load())
	if lost.Load() > 0 || sent.Load() < 20 {
		t.Errorf("%d of %d pings lost", lost.Load(), sent.Load())
	}
	if diff := cmp.Diff(before, sandboxes(t, rig)); diff != "" {
		t.Errorf("restarts changed something (-before +after):\n%s", diff)
	}
	healthy(t, rig)
}

func sandboxes(t *testing.T, rig *testutil.Rig) string {
	t.Helper()
	var all []string
	for _, h := range rig.Hosts {
		var list []json.RawMessage
		must(t, h.Call(t.Context(), "sandbox.list", nil, &list))
		for _, sb := range list {
			all = append(all, h.Name+" "+string(sb))
		}
	}
	return strings.Join(all, "\n")
}

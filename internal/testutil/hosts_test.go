package testutil_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestHosts(t *testing.T) {
	testutil.NoLeaks(t)
	start := time.Now()
	rig := testutil.NewHosts(t, 3, testutil.HostsOptions{})
	t.Logf("3 hosts in %v", time.Since(start))
	h1, h2, h3 := rig.Hosts[0], rig.Hosts[1], rig.Hosts[2]
	home := testutil.HomeNS(t)
	for _, h := range rig.Hosts {
		if got := strings.TrimSpace(h.Run(t, "hostname")); got != h.Name {
			t.Errorf("hostname of %s is %q", h.Name, got)
		}
		// The defaults of Open vSwitch's own tools work on a host.
		if got := strings.TrimSpace(h.Run(t, "ovs-vsctl", "list-br")); got != testutil.PhysicalBridge {
			t.Errorf("bridges of %s: %q", h.Name, got)
		}
		for _, to := range []netip.Addr{rig.Outside4, rig.Outside6, h1.Addr4, h1.Addr6, h3.Addr4, h3.Addr6} {
			reach(t, h.NS, to)
		}
		reach(t, home, h.Addr4)
		reach(t, home, h.Addr6)
	}
	// TCP fails where checksums are left to hardware that is not there.
	for _, at := range []netip.Addr{h2.Addr4, h2.Addr6} {
		server := testutil.StartEcho(t, h2.NS, netip.AddrPortFrom(at, 0))
		for _, from := range []*testutil.NS{h1.NS, home, rig.Outside} {
			if err := testutil.TryTCP(t.Context(), from, server); err != nil {
				t.Error(err)
			}
		}
		rate, err := testutil.Transfer(t.Context(), h1.NS, h2.NS, at, 100*time.Millisecond)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s to %s: %v", h1.Name, at, rate)
	}
}

// TestUplinkIsSilent shows that only br-phy answers for a host: the uplink's network stack sees the same frames.
func TestUplinkIsSilent(t *testing.T) {
	rig := testutil.NewHosts(t, 1, testutil.HostsOptions{})
	h, home := rig.Hosts[0], testutil.HomeNS(t)
	// On many machines this one hides half of the danger.
	for _, link := range []string{"all", "uplink"} {
		h.NS.Sysctl(t, "net/ipv4/conf/"+link+"/rp_filter", "0")
	}
	own := mustLink(t, h.NS, "uplink").Attrs().HardwareAddr
	fromUplink := h.Capture(t, func(f testutil.Frame) bool { return bytes.Equal(f.Src, own) })
	answers := h.Capture(t, func(f testutil.Frame) bool { return f.ICMPType == 0 && f.Protocol == 1 || f.ICMPType == 129 })

	const pings = 5
	for _, to := range []netip.Addr{h.Addr4, h.Addr6} {
		before := answers.Count()
		for range pings {
			reach(t, home, to)
		}
		testutil.Eventually(t, 5*time.Second, func() error {
			if n := answers.Count() - before; n < pings {
				return fmt.Errorf("%d answers captured of %d", n, pings)
			}
			return nil
		})
		if n := answers.Count() - before; n != pings {
			t.Errorf("%s gave %d answers to %d pings", to, n, pings)
		}
	}
	// Everybody on the segment may answer this one; whoever does first ends the ping.
	everybody := mustAddr(t, "ff02::1").WithZone(strconv.Itoa(mustLink(t, home, "rig"+rigNumber(h)).Attrs().Index))
	if _, err := testutil.Ping(t.Context(), home, everybody); err != nil {
		t.Error(err)
	}

	// With the bridge paused nothing may come out of the host, whatever goes in.
	h.OVS.PauseVswitchd(t)
	out := h.Capture(t, func(f testutil.Frame) bool { return f.IPSrc == h.Addr4 || f.IPSrc == h.Addr6 })
	flushNeighbours(t, home)
	for _, to := range []netip.Addr{h.Addr4, h.Addr6} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if _, err := testutil.Ping(ctx, home, to); err == nil {
			t.Errorf("%s answers while its bridge is paused", to)
		}
		cancel()
	}
	for what, c := range map[string]*testutil.Capture{"while the bridge was paused": out, "from the uplink itself": fromUplink} {
		if n := c.Count(); n != 0 {
			t.Errorf("%d frames came %s, first %+v", n, what, c.Frames()[0])
		}
	}
	h.OVS.ResumeVswitchd(t)
	reach(t, home, h.Addr4)
	reach(t, home, h.Addr6)
}

// rigNumber is the number in the third byte of a host's address, which is also in the name of the test's link.
func rigNumber(h *testutil.Host) string { return strconv.Itoa(int(h.Addr4.As4()[2])) }

func flushNeighbours(t *testing.T, ns *testutil.NS) {
	t.Helper()
	neighbours, err := ns.Netlink().NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range neighbours {
		if n.State&(netlink.NUD_NOARP|netlink.NUD_PERMANENT) != 0 {
			continue
		}
		if err := ns.Netlink().NeighDel(&n); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestFaults(t *testing.T) {
	testutil.NoLeaks(t)
	rig := testutil.NewHosts(t, 2, testutil.HostsOptions{IPv6Underlay: true, MTU: 1400})
	h1, h2 := rig.Hosts[0], rig.Hosts[1]
	if h1.VTEP != h1.Addr6 {
		t.Errorf("VTEP of an IPv6 underlay is %v", h1.VTEP)
	}
	both := func() {
		t.Helper()
		reach(t, h1.NS, h2.Addr4)
		reach(t, h1.NS, h2.Addr6)
	}
	both()
	if _, err := testutil.PingSize(t.Context(), h1.NS, h2.Addr4, 1400); err != nil {
		t.Errorf("packet of the underlay's size: %v", err)
	}
	if _, err := testutil.PingSize(t.Context(), h1.NS, h2.Addr4, 1401); err == nil {
		t.Error("packet above the underlay's MTU passes")
	}

	h2.Cut(t)
	if _, err := testutil.Ping(t.Context(), h1.NS, h2.Addr4); err == nil {
		t.Error("a host whose cable is pulled answers")
	}
	h2.Restore(t)
	both()

	h2.OVS.KillVswitchd(t)
	h2.OVS.StartVswitchd(t)
	both()
	h2.OVS.KillOVSDB(t)
	h2.OVS.StartOVSDB(t)
	both()

	for _, program := range []string{"iptables", "ip6tables"} {
		h1.Run(t, program, "-t", "nat", "-N", "MINE")
		h1.Run(t, program, "-A", "INPUT", "-j", "DROP")
	}
	h1.FlushRules(t)
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		if rules := h1.Run(t, program); strings.Contains(rules, "MINE") || strings.Contains(rules, "DROP") {
			t.Errorf("%s after the flush:\n%s", program, rules)
		}
	}
	both()
}

// TestVXLANByHand is the proof of the rig: what the ovs-vxlan driver has to do, done with ovs-vsctl.
func TestVXLANByHand(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6Underlay=%v", v6), func(t *testing.T) {
			rig := testutil.NewHosts(t, 2, testutil.HostsOptions{IPv6Underlay: v6})
			var sandboxes []*testutil.NS
			for i, h := range rig.Hosts {
				peer := rig.Hosts[1-i]
				h.OVS.Vsctl(t, "add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev", "--",
					"add-port", "br-int", "vx", "--", "set", "interface", "vx", "type=vxlan", "options:key=77",
					"options:remote_ip="+peer.VTEP.String())
				sb := testutil.NewNS(t)
				testutil.Connect(t, sb, "eth0", h.NS, "veth0")
				sb.TxOff(t, "eth0")
				h.NS.Sysctl(t, "net/ipv6/conf/veth0/disable_ipv6", "1")
				h.OVS.Vsctl(t, "add-port", "br-int", "veth0")
				sb.AddAddr(t, "eth0", []netip.Prefix{a4, b4}[i], []netip.Prefix{a6, b6}[i])
				if err := sb.Netlink().LinkSetMTU(mustLink(t, sb, "eth0"), 1430); err != nil {
					t.Fatal(err)
				}
				sandboxes = append(sandboxes, sb)
			}
			encapsulated := rig.Hosts[0].Capture(t, func(f testutil.Frame) bool {
				return f.VNI == 77 && f.Inner.Protocol == testutil.ProtocolICMP
			})
			for _, to := range []netip.Addr{b4.Addr(), b6.Addr()} {
				// The first packets to a new VTEP are lost while Open vSwitch asks for its MAC.
				testutil.Eventually(t, 10*time.Second, func() error {
					_, err := testutil.Ping(t.Context(), sandboxes[0], to)
					return err
				})
				rate, err := testutil.Transfer(t.Context(), sandboxes[0], sandboxes[1], to, 100*time.Millisecond)
				if err != nil {
					t.Error(err)
				}
				t.Logf("VXLAN over %s to %s: %v", rig.Hosts[1].VTEP, to, rate)
			}
			if encapsulated.Count() < 2 {
				t.Errorf("%d encapsulated pings on the underlay, want at least 2", encapsulated.Count())
			}
		})
	}
}

func reach(t *testing.T, from *testutil.NS, to netip.Addr) {
	t.Helper()
	testutil.Eventually(t, 15*time.Second, func() error {
		_, err := testutil.Ping(t.Context(), from, to)
		return err
	})
}

func TestHostsWithEtcd(t *testing.T) {
	start := time.Now()
	rig := testutil.NewHosts(t, 2, testutil.HostsOptions{EtcdMembers: 3, NoOVS: true})
	t.Logf("2 hosts without OVS and 3 etcd members in %v", time.Since(start))
	if _, err := rig.Etcd.Client(t).Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	for _, h := range rig.Hosts {
		for _, url := range rig.Etcd.Endpoints() {
			at, err := netip.ParseAddrPort(strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := h.NS.Dial(t.Context(), at)
			if err != nil {
				t.Error(err)
				continue
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func mustLink(t *testing.T, ns *testutil.NS, name string) netlink.Link {
	t.Helper()
	l, err := ns.Netlink().LinkByName(name)
	if err != nil {
		t.Fatal(errors.Join(errors.New(name), err))
	}
	return l
}

func mustAddr(t *testing.T, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

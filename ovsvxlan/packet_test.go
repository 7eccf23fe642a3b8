package ovsvxlan_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// outside are addresses beyond the gateway.
var outside = []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")}

// packetRig is a bridge with two endpoints and a gateway, each in a namespace.
type packetRig struct {
	rig
	a, b, host *testutil.NS
	node       node
}

func newPacketRig(t *testing.T) packetRig {
	t.Helper()
	r := packetRig{rig: rig{testutil.StartOVS(t, testutil.OVSOptions{})}}
	r.ovs.Vsctl(t, "add-br", bridgeName, "--", "set", "bridge", bridgeName, "datapath_type="+testutil.Datapath(), "fail_mode=secure")
	// The tunnel port has to exist for the program to make sense; nothing is sent there.
	r.ovs.Vsctl(t, "add-port", bridgeName, "vxlan", "--", "set", "interface", "vxlan", "type=vxlan", "ofport_request=1",
		"options:remote_ip=flow", "options:key=flow")

	base := testBase
	network := wide()
	var mac ovsvxlan.MAC
	r.host, mac = r.attach(t, "gw", int(base.GatewayPort))
	base.GatewayHostMAC = mac
	r.host.AddAddr(t, "gw", netip.PrefixFrom(ovsvxlan.HostAddr(base.TransitPrefix4), base.TransitPrefix4.Bits()),
		netip.PrefixFrom(ovsvxlan.HostAddr(base.TransitPrefix6), base.TransitPrefix6.Bits()))
	for _, addr := range outside {
		r.host.AddAddr(t, "gw", netip.PrefixFrom(addr, addr.BitLen()))
	}
	r.node = node{Base: &base, Networks: []ovsvxlan.Network{network}}
	for i, end := range []**testutil.NS{&r.a, &r.b} {
		id := string(rune('a' + i))
		*end, mac = r.attach(t, id, 11+i)
		e := ovsvxlan.Endpoint{ID: id, Network: network.ID, Port: uint32(11 + i), MAC: mac}
		for _, s := range network.Subnets {
			addr := s.Gateway.Next().Next()
			for range i {
				addr = addr.Next()
			}
			e.Addrs = append(e.Addrs, addr)
			(*end).AddAddr(t, id, netip.PrefixFrom(addr, s.Prefix.Bits()))
			(*end).AddRoute(t, netip.Prefix{}, s.Gateway)
		}
		r.node.Endpoints = append(r.node.Endpoints, e)
	}
	bridge, rest := r.node.compile(t)
	r.ofctl(t, "set-frags", ovsvxlan.FragmentMode)
	r.load(t, must(ovsvxlan.Merge(bridge, rest))(t))
	return r
}

// attach makes a namespace with an interface whose other end is a port of the bridge, and returns the interface's MAC.
func (r rig) attach(t *testing.T, name string, port int) (*testutil.NS, ovsvxlan.MAC) {
	t.Helper()
	ns, home := testutil.NewNS(t), testutil.HomeNS(t)
	// A kernel asks for no neighbour before its link-local address is known to be unique, which takes a second or two.
	ns.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	testutil.Connect(t, home, "port-"+name, ns, name)
	home.Sysctl(t, "net/ipv6/conf/port-"+name+"/disable_ipv6", "1")
	ns.TxOff(t, name)
	r.ovs.Vsctl(t, "add-port", bridgeName, "port-"+name, "--", "set", "interface", "port-"+name, fmt.Sprintf("ofport_request=%d", port))
	return ns, ovsvxlan.MAC(must(ns.Netlink().LinkByName(name))(t).Attrs().HardwareAddr)
}

// TestPackets checks with real packets what a trace only supposes: that answers made of questions are well-formed
// enough for a kernel to take them, and that conntrack translates there and back.
func TestPackets(t *testing.T) {
	r := newPacketRig(t)
	a, b := r.node.Endpoints[0], r.node.Endpoints[1]
	for family, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			gateway := r.node.Networks[0].Subnets[family].Gateway
			reached := func(what string, from *testutil.NS, to netip.Addr) {
				t.Helper()
				if _, err := testutil.Ping(t.Context(), from, to); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			reached("a to b", r.a, b.Addrs[family])
			reached("b to a", r.b, a.Addrs[family])
			reached("a to the gateway", r.a, gateway)
			reached("a to the outside", r.a, outside[family])
			reached("b to the outside", r.b, outside[family])
			// 4000 bytes do not fit into a frame, and a router in between would have to say so.
			if err := udpEcho(t, r.a, r.b, netip.AddrPortFrom(b.Addrs[family], 7), 4000); err != nil {
				t.Errorf("fragments from a to b: %v", err)
			}
			if err := udpEcho(t, r.a, r.host, netip.AddrPortFrom(outside[family], 7), 4000); err != nil {
				t.Errorf("fragments from a to the outside: %v", err)
			}
			for _, to := range []struct {
				ns   *testutil.NS
				addr netip.Addr
			}{{r.b, b.Addrs[family]}, {r.host, outside[family]}} {
				server := testutil.StartEcho(t, to.ns, netip.AddrPortFrom(to.addr, 0))
				if err := testutil.TryTCP(t.Context(), r.a, server); err != nil {
					t.Errorf("TCP from a: %v", err)
				}
			}
		})
	}
}

// TestPacketsRefused checks what must not get through, seen at the receiving end.
func TestPacketsRefused(t *testing.T) {
	r := newPacketRig(t)
	b := r.node.Endpoints[1]
	for family, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			// The host opens a connection to the network's transit address: no endpoint hears of it.
			transit := []netip.Addr{r.node.Networks[0].Transit4, r.node.Networks[0].Transit6}[family]
			if _, err := testutil.Ping(t.Context(), r.host, transit); err == nil {
				t.Error("the host reaches the network by its transit address")
			}
			// Tunnel frames from an endpoint, whole and in fragments.
			for _, size := range []int{100, 4000} {
				for _, to := range []struct {
					ns   *testutil.NS
					addr netip.Addr
				}{{r.b, b.Addrs[family]}, {r.host, outside[family]}} {
					err := udpEcho(t, r.a, to.ns, netip.AddrPortFrom(to.addr, r.node.Base.TunnelUDPPort), size)
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%d bytes to the tunnel port of %s: %v; want no answer", size, to.addr, err)
					}
				}
			}
		})
	}
}

// TestPacketsError checks that an error about an endpoint's packet comes back to it from the outside: here, that
// nothing listens.
func TestPacketsError(t *testing.T) {
	r := newPacketRig(t)
	for _, addr := range outside {
		err := r.a.Do(func() error {
			conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("x")); err != nil {
				return err
			}
			if err := conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
				return err
			}
			_, err = conn.Read(make([]byte, 1))
			return err
		})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v; want connection refused", addr, err)
		}
	}
}

// answerTimeout is how long to wait for an answer that does or does not come.
const answerTimeout = 300 * time.Millisecond

// udpEcho sends a datagram of size bytes to a server it starts, and waits for the same back.
func udpEcho(t *testing.T, from, at *testutil.NS, to netip.AddrPort, size int) error {
	t.Helper()
	var server, client net.PacketConn
	if err := at.Do(func() (err error) {
		server, err = net.ListenPacket("udp", to.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := from.Do(func() (err error) {
		client, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", ":0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, sender, err := server.ReadFrom(buf)
			if err != nil {
				return // closed below
			}
			if _, err := server.WriteTo(buf[:n], sender); err != nil {
				return // the client sees that no answer comes
			}
		}
	}()
	defer func() { server.Close(); <-done }()

	ctx, cancel := context.WithTimeout(t.Context(), answerTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := client.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	if _, err := client.WriteTo(make([]byte, size), net.UDPAddrFromAddrPort(to)); err != nil {
		return err
	}
	n, _, err := client.ReadFrom(make([]byte, 1<<16))
	if err == nil && n != size {
		return fmt.Errorf("%d bytes came back, not %d", n, size)
	}
	return err
}

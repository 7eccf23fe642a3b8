package iptables

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

func eachRig(t *testing.T, fn func(t *testing.T, r *rig, fw *Firewall)) {
	for _, b := range backends {
		t.Run(b, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, b)
			fn(t, r, r.firewall(t))
		})
	}
}

// The table of the package comment, as packets.
func TestTraffic(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig, fw *Firewall) {
		for _, name := range []string{"a1", "a2", "b1", "i1", "i2", "g1", "outside"} {
			r.serve(name, echoPort, name)
		}
		r.serve("host", echoPort, "host", "a", "b", "i", "g")
		matrix := []attempt{
			{from: "a1", to: "a2", open: true},
			{from: "a1", to: "b1"},
			{from: "b1", to: "a1"},
			{from: "i1", to: "i2", open: true},
			{from: "a1", to: "i1"},
			{from: "i1", to: "a1"},
			{from: "g1", to: "a1"},
			{from: "a1", to: "g1"},
			{from: "g1", to: "i1"},

			{from: "a1", to: "outside", open: true, seenAs: "host"},
			{from: "b1", to: "outside", open: true, seenAs: "host"},
			{from: "g1", to: "outside", open: true, seenAs: "host"},
			{from: "i1", to: "outside"},
			{from: "outside", to: "a1"},
			{from: "outside", to: "i1"},
			{from: "outside", to: "g1"},

			{from: "a1", to: "a", open: true},
			{from: "i1", to: "i", open: true},
			{from: "g1", to: "g", open: true},
			{from: "a1", to: "b"},
			{from: "b1", to: "a"},
			{from: "a1", to: "i"},
			{from: "i1", to: "a"},
			{from: "a1", to: "g"},
			{from: "g1", to: "b"},
			{from: "a1", to: "host", open: true},
			{from: "host", to: "host", open: true},
			{from: "host", to: "a1", open: true, seenAs: "a"},
			{from: "host", to: "i1", open: true, seenAs: "i"},
			{from: "host", to: "b", open: true, seenAs: "b"},
		}
		mustSync(t, fw, r.spec)
		r.expect("after Sync", matrix...)

		// Flows that were opened while there were no rules do not outlive that moment; allowed ones do.
		var held []heldFlow
		for _, p := range []attempt{
			{from: "a1", to: "b1"},
			{from: "a1", to: "i1"},
			{from: "i1", to: "b1"},
			{from: "i1", to: "outside"},
			{from: "outside", to: "a1", heard: true}, // what a1 sends leaves it like anything else
			{from: "outside", to: "i1"},
			{from: "g1", to: "a1"},
			{from: "a1", to: "b", heard: true}, // the host may speak to its networks
			{from: "a1", to: "a2", open: true},
			{from: "b1", to: "outside", open: true},
			{from: "g1", to: "outside", open: true},
		} {
			held = append(held, r.hold(p)...)
		}
		for _, f := range families {
			for _, table := range tableOrder {
				r.iptables(t, f, "-t "+table+" -F")
			}
		}
		r.expectHeld("without rules", false, held)
		mustSync(t, fw, r.spec)
		r.expectHeld("rules are back", true, held)
		r.expect("rules are back", matrix...)

		// The admin's word is the last.
		for _, f := range families {
			r.iptables(t, f, "-A CNM-USER -o "+r.spec.Networks[1].Interface+" -j ACCEPT")
			r.iptables(t, f, "-A CNM-USER -i "+r.spec.Networks[1].Interface+" -o eth0 -p udp --dport 7000 -j DROP")
		}
		r.expect("with CNM-USER",
			attempt{from: "outside", to: "b1", open: true},
			attempt{from: "b1", to: "outside"},
			attempt{from: "a1", to: "outside", open: true, seenAs: "host"},
		)

		// Unknown interfaces of our prefix are closed.
		if err := fw.Remove(t.Context(), r.spec.Owner, r.spec.Networks[0].ID); err != nil {
			t.Fatal(err)
		}
		r.expect("a removed", attempt{from: "a1", to: "outside"}, attempt{from: "outside", to: "a1"}, attempt{from: "a2", to: "i1"})
	})
}

// Nobody forges the tunnel's datagrams, and the kernel's own pass.
func TestTunnelPorts(t *testing.T) {
	const tunnel, other, kernel = 4789, 4790, 4788 // the kernel's devices need a port on which no test server is
	eachRig(t, func(t *testing.T, r *rig, fw *Firewall) {
		loopback := [2]netip.Addr{ip("127.0.0.1"), ip("::1")}
		r.addr["loopback"] = loopback
		for _, port := range []uint16{tunnel, other} {
			r.serve("outside", port, "outside")
			r.serve("host", port, "host", "loopback")
			r.serve("a2", port, "a2")
		}
		mustSync(t, fw, r.spec)
		forge := func(open bool, port uint16) []attempt {
			return []attempt{
				{from: "host", to: "outside", port: port, open: open},
				{from: "host", to: "host", port: port, open: open},
				{from: "host", to: "loopback", port: port, open: open, seenAs: "loopback"},
				{from: "a1", to: "outside", port: port, open: open, seenAs: "host"},
				{from: "g1", to: "outside", port: port, open: open, seenAs: "host"},
				{from: "a1", to: "host", port: port, open: open},
				{from: "a1", to: "a2", port: port, open: true}, // inside a network it is the sandboxes' business
			}
		}
		r.expect("no guard", forge(true, tunnel)...)
		if err := fw.SetTunnelPorts(t.Context(), r.spec.Owner, tunnel, kernel); err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			r.iptables(t, f, "-A CNM-USER -j ACCEPT")
			r.iptables(t, f, "-I INPUT -j ACCEPT")
			r.iptables(t, f, "-I OUTPUT -j ACCEPT")
		}
		r.expect("guarded", append(forge(false, tunnel), forge(true, other)...)...)
		for i, name := range []string{"ip4:udp", "ip6:udp"} {
			if err := rawDatagram(r.NS, name, r.addr["outside"][i], other); err != nil {
				t.Errorf("%s: raw datagram to another port: %v", name, err)
			}
			if err := rawDatagram(r.NS, name, r.addr["outside"][i], tunnel); err == nil {
				t.Errorf("%s: root sends to the tunnel port by a raw socket", name)
			}
		}

		// A tunnel's frames come from sandboxes, as in Open vSwitch's kernel datapath: here by way of a bridge.
		for i, name := range []string{"a1", "b1"} {
			far := r.tunnel(kernel, i)
			r.serve("outside", echoPort, far)
			r.expect("through the kernel's tunnel",
				attempt{from: name, to: far, open: true},
				attempt{from: "host", to: far}, // the limit that the package comment tells
			)
		}
	})
}

// tunnel extends the i-th network's bridge to outside, over IPv4 or IPv6, and returns by what name outside is in it.
func (r *rig) tunnel(port, i int) string {
	r.t.Helper()
	name, n := fmt.Sprintf("vx%d", i), r.spec.Networks[i]
	for _, end := range []struct{ ns, peer string }{{"host", "outside"}, {"outside", "host"}} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		nl := r.ns[end.ns].Netlink()
		if end.ns == "host" {
			br, err := nl.LinkByName(n.Interface)
			if err != nil {
				r.t.Fatal(err)
			}
			attrs.MasterIndex = br.Attrs().Index
		}
		// With one peer the device's multicast "group" is that peer's address.
		dev := &netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: 7 + i, Port: port,
			SrcAddr: r.addr[end.ns][i].AsSlice(), Group: r.addr[end.peer][i].AsSlice(),
		}
		if err := nl.LinkAdd(dev); err != nil {
			r.t.Fatal(err)
		}
		r.ns[end.ns].LinkUp(r.t, name)
	}
	r.addr[name] = [][2]netip.Addr{{ip("10.1.0.99"), ip("fd00:1::99")}, {ip("10.1.1.99"), ip("fd00:1:0:1::99")}}[i]
	for f, a := range r.addr[name] {
		r.ns["outside"].AddAddr(r.t, name, netip.PrefixFrom(a, n.Subnets[f].Bits()))
	}
	return name
}

// rawDatagram sends a hand-made UDP datagram.
func rawDatagram(ns *testutil.NS, network string, to netip.Addr, port uint16) error {
	return ns.Do(func() error {
		conn, err := net.Dial(network, to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte{0x30, 0x39, byte(port >> 8), byte(port), 0, 8, 0, 0})
		return err
	})
}

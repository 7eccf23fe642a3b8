package libcnm_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

var (
	broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// overlayAttacks hold without the host's firewall: they are for the switch.
func (f *battlefield) overlayAttacks() []attack {
	same := func(name string, lie func(*packet)) attack { return attack{name: name, from: f.a, to: f.b, lie: lie} }
	family := func(only string, a attack) attack { a.only = only; return a }
	out := func(name string, lie func(*packet)) attack {
		return attack{name: name, from: f.a, to: f.outside, honest: routed, lie: lie}
	}
	pick := func(p *packet, v4, v6 netip.Addr) netip.Addr {
		if p.src.Is6() {
			return v6
		}
		return v4
	}
	return []attack{
		// Being someone else.
		same("another's MAC", func(p *packet) { p.ethSrc = f.c.mac }),
		same("the gateway's MAC", func(p *packet) { p.ethSrc = f.a.gw }),
		same("a multicast MAC", func(p *packet) { p.ethSrc = allNodes }),
		same("another's address", func(p *packet) { p.src = pick(p, f.c.v4, f.c.v6) }),
		same("the receiver's address", func(p *packet) { p.src = p.dst }),
		same("the gateway's address", func(p *packet) { p.src = pick(p, addr("10.1.0.1"), addr("fd01::1")) }),
		same("an address of no network", func(p *packet) { p.src = pick(p, addr("198.51.100.7"), addr("2001:db8::7")) }),
		same("no address", func(p *packet) { p.src = pick(p, netip.IPv4Unspecified(), netip.IPv6Unspecified()) }),
		same("a link-local address", func(p *packet) { p.src = pick(p, addr("169.254.1.1"), addr("fe80::1")) }),
		{name: "another's address by the gateway", from: f.a, to: f.b, honest: routed, lie: func(p *packet) { p.src = pick(p, f.c.v4, f.c.v6) }},
		{name: "another's address by the gateway, on this node", from: f.a, to: f.c, honest: routed, lie: func(p *packet) { p.src = pick(p, f.b.v4, f.b.v6) }},
		out("another's address to the outside", func(p *packet) { p.src = pick(p, f.c.v4, f.c.v6) }),

		// Frames that are not what they seem.
		same("a VLAN tag", func(p *packet) { p.ether = tagged(0x8100, 7) }),
		same("a priority tag", func(p *packet) { p.ether = tagged(0x8100, 0) }),
		same("a provider's tag", func(p *packet) { p.ether = tagged(0x88a8, 7) }),
		same("two tags", func(p *packet) { p.ether = tagged(0x88a8, 7, 0x8100, 8) }),
		same("SNAP and another's address", func(p *packet) { p.ether, p.src = snap, pick(p, f.c.v4, f.c.v6) }),
		same("an unknown type", func(p *packet) {
			p.ether = func(p packet, ip []byte) []byte { return ethernet(p.ethDst, p.ethSrc, 0x88b5, ip) }
		}),
		same("MPLS", func(p *packet) {
			p.ether = func(p packet, ip []byte) []byte {
				return ethernet(p.ethDst, p.ethSrc, 0x8847, slices.Concat([]byte{0, 1, 1, 64}, ip))
			}
		}),
		same("a header longer than the packet", func(p *packet) {
			p.src = pick(p, f.c.v4, f.c.v6)
			p.ether = func(p packet, ip []byte) []byte {
				ip = slices.Clone(ip)
				ip[0] |= 0xf
				return ethernet(p.ethDst, p.ethSrc, etherType(p.src), ip)
			}
		}),

		// Poison.
		family("4", same("ARP: an answer nobody asked for", func(p *packet) { p.ether = arp(2, f.a.mac, f.c.v4, f.b.mac, f.b.v4) })),
		family("4", same("ARP: its own answer, broadcast", func(p *packet) {
			p.ethDst, p.ether = broadcast, arp(2, f.a.mac, f.a.v4, broadcast, f.a.v4)
		})),
		family("4", same("ARP: a question under another's address", func(p *packet) {
			p.ethDst, p.ether = broadcast, arp(1, f.a.mac, f.c.v4, make([]byte, 6), f.b.v4)
		})),
		family("4", same("ARP: a question under the gateway's address", func(p *packet) {
			p.ethDst, p.ether = broadcast, arp(1, f.a.mac, addr("10.1.0.1"), make([]byte, 6), f.b.v4)
		})),
		family("6", same("ND: another's advertisement", func(p *packet) { p.hops, p.transport = 255, advertisement(f.c.v6, f.a.mac) })),
		family("6", same("ND: its own advertisement", func(p *packet) { p.hops, p.transport = 255, advertisement(f.a.v6, f.a.mac) })),
		family("6", same("ND: a question with another's MAC", func(p *packet) {
			p.hops, p.transport = 255, icmp(0, 135, make([]byte, 4), f.b.v6.AsSlice(), []byte{1, 1}, f.c.mac)
		})),
		family("6", same("ND: a router", func(p *packet) { p.hops, p.transport = 255, icmp(0, 134, make([]byte, 12)) })),
		family("6", same("ND: a router behind an extension header", func(p *packet) {
			p.hops, p.transport = 255, icmp(0, 134, make([]byte, 12))
			p.firstNext, p.options = 60, []byte{testutil.ProtocolICMPv6, 0, 1, 4, 0, 0, 0, 0}
		})),
		family("6", same("ND: a router in fragments", func(p *packet) {
			p.hops, p.transport, p.fragment = 255, icmp(0, 134, make([]byte, 12)), 8
		})),
		family("6", same("ND: a redirect", func(p *packet) { p.hops, p.transport = 255, icmp(0, 137, make([]byte, 36)) })),
		same("a DHCP server", func(p *packet) { p.sport, p.dport = ports(p, 67, 547), ports(p, 68, 546) }),
		same("a DHCP server at another port", func(p *packet) { p.sport, p.dport = 1067, ports(p, 68, 546) }),

		// Into the other network, which has the same addresses.
		same("to a MAC of the other network", func(p *packet) { p.ethDst = f.y.mac }),
		same("to a MAC of the other network on this node", func(p *packet) { p.ethDst, p.dst = f.x.mac, pick(p, f.x.v4, f.x.v6) }),
		same("to the other network by the gateway", func(p *packet) { p.ethDst, p.dst = f.a.gw, pick(p, f.x.v4, f.x.v6) }),
		same("to the other network's gateway", func(p *packet) { p.ethDst, p.dst = f.x.gw, pick(p, f.x.v4, f.x.v6) }),
		out("to the other network's transit address", func(p *packet) { p.dst = pick(p, f.greenTransit4, f.greenTransit6) }),
		out("to the host's loopback", func(p *packet) { p.dst = pick(p, addr("127.0.0.1"), netip.IPv6Loopback()) }),
		out("to the host's link-local address", func(p *packet) { p.dst = pick(p, addr("169.254.64.1"), addr("fe80::1")) }),
		out("to everyone outside", func(p *packet) { p.dst = pick(p, addr("255.255.255.255"), addr("ff02::1")) }),
		out("to IPv4 in disguise", func(p *packet) { p.dst = pick(p, addr("0.0.0.1"), addr("::ffff:203.0.113.2")) }),

		// Tunnels of its own making, which would leave under the node's address.
		out("VXLAN", func(p *packet) { p.dport = 4789 }),
		out("VXLAN in fragments", func(p *packet) { p.dport, p.fragment = 4789, 16 }),
		out("VXLAN in the smallest fragments", func(p *packet) { p.dport, p.fragment = 4789, 8 }),
		family("6", out("VXLAN that begins in a later fragment", func(p *packet) {
			p.dport, p.fragment = 4789, 8
			p.firstNext, p.options = 60, []byte{testutil.ProtocolUDP, 0, 1, 4, 0, 0, 0, 0}
		})),
	}
}

func ports(p *packet, v4, v6 uint16) uint16 {
	if p.src.Is6() {
		return v6
	}
	return v4
}

func tagged(tags ...uint16) func(packet, []byte) []byte {
	return func(p packet, ip []byte) []byte {
		inner := ethernet(nil, nil, etherType(p.src), ip)
		for i := len(tags) - 2; i >= 0; i -= 2 {
			inner = slices.Concat([]byte{byte(tags[i] >> 8), byte(tags[i]), byte(tags[i+1] >> 8), byte(tags[i+1])}, inner)
		}
		return slices.Concat(p.ethDst, p.ethSrc, inner)
	}
}

func snap(p packet, ip []byte) []byte {
	llc := slices.Concat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, ethernet(nil, nil, etherType(p.src), ip))
	return ethernet(p.ethDst, p.ethSrc, uint16(len(llc)), llc)
}

func advertisement(target netip.Addr, mac net.HardwareAddr) func(packet) (byte, []byte) {
	return icmp(0, 136, []byte{0x60, 0, 0, 0}, target.AsSlice(), []byte{2, 1}, mac)
}

// hostAttacks are the firewall's business.
func (f *battlefield) hostAttacks() []attack {
	h := f.nodes[0]
	pick := func(p *packet, v4, v6 netip.Addr) netip.Addr {
		if p.src.Is6() {
			return v6
		}
		return v4
	}
	web := []*place{f.web, f.web2}
	out := func(name string, from *place, lie func(*packet)) attack {
		return attack{name: name, from: from, to: f.outside, honest: routed, lie: lie, seen: web}
	}
	list := []attack{
		{name: "from overlay to bridge", from: f.a, to: f.outside, honest: routed, seen: f.gates, lie: func(p *packet) {
			p.dst = pick(p, f.db.v4, f.db.v6)
		}},
		out("from bridge to bridge", f.web, func(p *packet) { p.dst = pick(p, f.db.v4, f.db.v6) }),
		out("to the other bridge's MAC", f.web, func(p *packet) { p.ethDst, p.dst = f.db.gw, pick(p, f.db.v4, f.db.v6) }),
		out("to another bridge, broadcast", f.web, func(p *packet) { p.ethDst, p.dst = broadcast, pick(p, f.db.v4, f.db.v6) }),
		out("from bridge to overlay", f.web, func(p *packet) { p.dst = pick(p, f.greenTransit4, f.greenTransit6) }),
		out("a tag", f.web, func(p *packet) { p.ether, p.dst = tagged(0x8100, 1), pick(p, f.db.v4, f.db.v6) }),
		// The mirror's answer would go to whom the address belongs.
		out("the other bridge's address", f.web, func(p *packet) { p.src = pick(p, f.db.v4, f.db.v6) }),
		{name: "the other bridge's address, to the host", from: f.web, to: f.web, honest: func(from, _ *place, v6 bool) packet {
			return routed(from, h, v6)
		}, lie: func(p *packet) { p.src = pick(p, f.db.v4, f.db.v6) }},
		{name: "a bridge's address, from a neighbour to the host", from: f.nodes[2], to: h, lie: func(p *packet) {
			p.src = pick(p, f.db.v4, f.db.v6)
		}},
		{name: "a bridge's address, from a neighbour to the outside", from: f.nodes[2], to: h, lie: func(p *packet) {
			p.src, p.dst = pick(p, f.db.v4, f.db.v6), pick(p, f.outside.v4, f.outside.v6)
		}},
		out("the host's address", f.web, func(p *packet) { p.src = pick(p, h.v4, h.v6) }),
		out("an address of no network", f.web, func(p *packet) { p.src = pick(p, addr("198.51.100.7"), addr("2001:db8::7")) }),
		out("the overlay's transit address", f.web, func(p *packet) { p.src = pick(p, f.greenTransit4, f.greenTransit6) }),
		{name: "IPv6 of a network without", from: f.old, to: f.outside, only: "4", honest: routed, lie: func(p *packet) {
			p.src, p.dst = f.db.v6, f.outside.v6
		}},
		out("VXLAN", f.web, func(p *packet) { p.dport = 4789 }),
		out("VXLAN in fragments", f.web, func(p *packet) { p.dport, p.fragment = 4789, 8 }),
		{name: "a source route", from: f.web, to: f.outside, only: "4", honest: routed, lie: func(p *packet) {
			p.dst = h.v4
			p.options = slices.Concat([]byte{131, 7, 4}, f.db.v4.AsSlice(), []byte{0})
		}},
		{name: "a routing header", from: f.web, to: f.outside, only: "6", honest: routed, lie: func(p *packet) {
			p.dst, p.firstNext = h.v6, 43
			p.options = slices.Concat([]byte{testutil.ProtocolUDP, 2, 0, 1, 0, 0, 0, 0}, f.db.v6.AsSlice())
		}},
		{name: "a segment routing header", from: f.web, to: f.outside, only: "6", honest: routed, lie: func(p *packet) {
			p.dst, p.firstNext = h.v6, 43
			p.options = slices.Concat([]byte{testutil.ProtocolUDP, 2, 4, 1, 0, 0, 0, 0}, f.db.v6.AsSlice())
		}},
	}
	for _, protocol := range []byte{4, 41, 47} {
		list = append(list, out("a packet in a packet", f.web, func(p *packet) {
			p.dst = pick(p, h.v4, h.v6)
			inner := direct(f.web2, f.db, p.src.Is6())
			p.transport = func(p packet) (byte, []byte) {
				inner.payload = p.payload
				return protocol, inner.frames()[0][14:]
			}
		}))
	}
	list = append(list, attack{name: "VXLAN that another's rules masquerade", from: f.lodger, to: f.outside, honest: routed, lie: func(p *packet) {
		*p = f.tunnelled(f.a, f.b, routed(f.lodger, f.nodes[1], false), p)
	}})
	// About a connection that a opened, from a neighbour that passes for the outside.
	const local = 5050
	for _, wrong := range []struct {
		what string
		lie  func(outside, inner *packet)
	}{
		{"a port that is not connected", func(outside, inner *packet) { outside.dport, inner.sport = local+1, local+1 }},
		{"another sender", func(outside, inner *packet) { outside.sport, inner.dport = 5003, 5003 }},
	} {
		answer := func(_, _ *place, v6 bool) packet {
			p := direct(f.outside, h, v6)
			p.ethDst, p.ethSrc, p.sport, p.dport = h.mac, f.nodes[2].mac, 5002, local
			return p
		}
		cause := func(p *packet) packet {
			inner := direct(h, f.outside, p.src.Is6())
			inner.sport, inner.payload = local, p.payload
			return inner
		}
		report := func(inner packet) func(packet) (byte, []byte) {
			return func(p packet) (byte, []byte) {
				inner.payload, p.payload = p.payload, nil
				return icmp(3, 1, make([]byte, 4), inner.frames()[0][14:])(p)
			}
		}
		list = append(list,
			attack{name: "an answer to " + wrong.what, from: f.nodes[2], to: f.a, seen: []*place{f.outside}, honest: answer, lie: func(p *packet) {
				wrong.lie(p, &packet{})
			}},
			attack{name: "an ICMP error about " + wrong.what, from: f.nodes[2], to: f.a,
				honest: func(from, to *place, v6 bool) packet {
					p := answer(from, to, v6)
					p.transport = report(cause(&p))
					return p
				},
				lie: func(p *packet) {
					inner := cause(p)
					wrong.lie(&packet{}, &inner)
					p.transport = report(inner)
				}})
	}
	// From a neighbour that routes to the sandboxes by the host.
	for _, to := range []struct {
		what   string
		v4, v6 netip.Addr
	}{
		{"a bridge's sandbox", f.db.v4, f.db.v6},
		{"an overlay's sandbox", f.a.v4, f.a.v6},
		{"a transit address", f.greenTransit4, f.greenTransit6},
	} {
		list = append(list, attack{
			name: "from a neighbour to " + to.what, from: f.nodes[2], to: f.nodes[0],
			lie: func(p *packet) { p.dst = pick(p, to.v4, to.v6) },
		})
	}
	return list
}

// connect lets a open the connection that some of hostAttacks are about.
func (f *battlefield) connect(t *testing.T) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		p := routed(f.a, f.outside, v6)
		p.sport, p.payload = 5050, fmt.Appendf(nil, "<connect, v6 %v>", v6)
		must(t, f.a.send(p.frames()))
		testutil.Eventually(t, settle, func() error {
			if !f.a.hears(string(p.payload)) {
				return errors.New("no answer from outside")
			}
			return nil
		})
	}
}

// tunnelled is an honest packet in blue's tunnel, with the payload of another.
func (f *battlefield) tunnelled(from, to *place, outer packet, like *packet) packet {
	p := direct(from, to, like.src.Is6())
	p.payload = like.payload
	outer.dport = 4789
	p.tunnel = &tunnel{outer: outer, flags: 8, vni: f.blueVNI}
	return p
}

// tunnelAttacks are those of a node of the cluster that has been taken over.
func (f *battlefield) tunnelAttacks() []attack {
	stranger := addr("172.31.0.77")
	from, to := f.nodes[0], f.nodes[1]
	forge := func(_, _ *place, v6 bool) packet {
		p := direct(f.a, f.b, v6)
		return f.tunnelled(f.a, f.b, direct(from, to, false), &p)
	}
	lies := []struct {
		name string
		lie  func(*packet)
	}{
		{"from a stranger", func(p *packet) { p.tunnel.outer.src = stranger }},
		{"from the receiver itself", func(p *packet) { p.tunnel.outer.src = to.v4 }},
		{"with the other network's identifier", func(p *packet) { p.tunnel.vni = f.greenVNI }},
		{"with an unknown identifier", func(p *packet) { p.tunnel.vni = 0xabcdef }},
		{"without the flag", func(p *packet) { p.tunnel.flags = 0 }},
		{"with another node's MAC", func(p *packet) { p.ethSrc = f.e.mac }},
		{"with another node's address", func(p *packet) { p.src = f.e.addr(p.src.Is6()) }},
		{"with the receiver's MAC", func(p *packet) { p.ethSrc = f.b.mac }},
		{"with the gateway's MAC", func(p *packet) { p.ethSrc = f.a.gw }},
		{"with a tag", func(p *packet) { p.ether = tagged(0x8100, 7) }},
		{"with an ARP answer", func(p *packet) { p.ether = arp(2, f.a.mac, addr("10.1.0.1"), f.b.mac, f.b.v4) }},
		{"over IPv6", func(p *packet) { p.tunnel.outer.src, p.tunnel.outer.dst = from.v6, to.v6 }},
		{"to another port", func(p *packet) { p.tunnel.outer.dport = 8472 }},
		{"in UDP-Lite", func(p *packet) {
			p.tunnel.outer.transport = func(p packet) (byte, []byte) {
				return 136, udp(p.src, p.dst, p.sport, p.dport, p.payload)
			}
		}},
		{"in fragments", func(p *packet) { p.tunnel.outer.fragment = 64 }},
		{"to the way out", func(p *packet) { p.ethDst, p.dst = f.b.gw, f.outside.addr(p.src.Is6()) }},
		{"to a third node", func(p *packet) { p.ethDst, p.dst = f.e.mac, f.e.addr(p.src.Is6()) }},
	}
	var list []attack
	for _, l := range lies {
		list = append(list, attack{name: "a forged tunnel packet " + l.name, from: from, to: f.b, honest: forge, lie: l.lie})
	}
	list = append(list,
		attack{name: "a forged tunnel packet with an advertisement", from: from, to: f.b, honest: forge, only: "6",
			lie: func(p *packet) { p.hops, p.transport = 255, advertisement(addr("fd01::1"), f.a.mac) }},
		attack{name: "a forged tunnel packet for all, which goes no further", from: from, to: f.b, honest: forge, seen: []*place{f.b},
			lie: func(p *packet) { p.ethDst = broadcast }})
	return list
}

// TestAttacks sends honest packets, which arrive, and the same with one lie, which do not: at peace, while the firewall
// is being rewritten, without the firewall and the controllers, and while Open vSwitch and they come back.
func TestAttacks(t *testing.T) {
	ctx := t.Context()
	f := newBattlefield(t)
	all := f.everywhere()
	onSwitch := slices.Concat(f.overlayAttacks(), f.tunnelAttacks())
	f.connect(t)
	strike(t, "at peace", slices.Concat(onSwitch, f.hostAttacks()), all)

	h := f.rig.Hosts
	besiege(t, "during reloads", slices.Concat(onSwitch, f.hostAttacks()), all, func() {
		for i := range 3 {
			n := nodeagent.Network{Driver: "bridge", Name: fmt.Sprint("more", i)}
			must(t, h[0].Call(ctx, "network.create", n, nil))
			must(t, h[0].Call(ctx, "network.delete", n.Name, nil))
		}
	})
	for _, host := range h {
		host.Kill9(t)
		host.FlushRules(t)
	}
	strike(t, "undefended", onSwitch, all)

	besiege(t, "while the switch restarts", onSwitch, all, func() {
		h[1].OVS.KillVswitchd(t)
		h[1].OVS.StartVswitchd(t)
		if err := reach(ctx, f.a.ns, f.b.v4); err == nil {
			t.Error("a switch without flows forwards")
		}
		for _, host := range h {
			host.Start(t)
			openController(t, f.rig, host)
		}
		testutil.Eventually(t, settle, func() error { return reach(ctx, f.a.ns, f.b.v4, f.b.v6) })
	})
	healthy(t, f.rig)
	f.connect(t)
	strike(t, "at peace again", slices.Concat(onSwitch, f.hostAttacks()), all)
	f.tooBig(t)
}

// tooBig sends packets as large as fit, one byte more, and more than fits through a router outside, who says so.
func (f *battlefield) tooBig(t *testing.T) {
	ctx := t.Context()
	for _, pair := range [][2]*place{{f.a, f.b}, {f.a, f.c}, {f.web, f.web2}} {
		from, to := pair[0], pair[1]
		l, err := from.ns.Netlink().LinkByIndex(from.index)
		must(t, err)
		mtu := l.Attrs().MTU
		for _, dst := range []netip.Addr{to.v4, to.v6, f.outside.v4, f.outside.v6} {
			if _, err := testutil.PingSize(ctx, from.ns, dst, mtu); err != nil {
				t.Errorf("%d bytes, which fit: %v", mtu, err)
			}
			if _, err := testutil.PingSize(ctx, from.ns, dst, mtu+1); !errors.Is(err, syscall.EMSGSIZE) {
				t.Errorf("%d bytes, one too many: %v", mtu+1, err)
			}
		}
	}
	const narrow = 1300
	router := f.rig.Underlay.Netlink()
	l, err := router.LinkByName("outside")
	must(t, err)
	must(t, router.LinkSetMTU(l, narrow))
	var told sync.WaitGroup
	for _, from := range []*place{f.a, f.web} {
		for _, dst := range []netip.Addr{f.outside.v4, f.outside.v6} {
			told.Go(func() {
				err := testutil.Wait(ctx, settle, func() error {
					if _, err := testutil.PingSize(ctx, from.ns, dst, narrow+1); !errors.Is(err, syscall.EMSGSIZE) {
						return fmt.Errorf("nobody tells %s that %d bytes are too many: %w", from.name, narrow+1, err)
					}
					_, err := testutil.PingSize(ctx, from.ns, dst, narrow)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	told.Wait()
}

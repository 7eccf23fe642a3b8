package libcnm_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

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

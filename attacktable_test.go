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
		// To an address that its own network lacks: by a MAC that nobody has there, one's own network is still reached.
		same("to a MAC of the other network", func(p *packet) { p.ethDst, p.dst = f.y.mac, pick(p, f.x.v4, f.x.v6) }),
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

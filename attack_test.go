package libcnm_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

// place is where packets are sent from and listened for.
type place struct {
	name    string
	ns      *testutil.NS
	link    string
	index   int
	mac, gw net.HardwareAddr
	v4, v6  netip.Addr

	socket *os.File
	done   sync.WaitGroup
	mu     sync.Mutex // guards all following fields
	heard  map[string]bool
}

func (p *place) addr(v6 bool) netip.Addr {
	if v6 {
		return p.v6
	}
	return p.v4
}

// Of linux/if_packet.h and linux/socket.h.
const (
	solPacket            = 263
	packetIgnoreOutgoing = 23
)

var markPattern = regexp.MustCompile(`<[^<>]+>`)

// newPlace listens on a link for marked frames that come in by it.
func newPlace(t *testing.T, name string, ns *testutil.NS, link string, addrs ...netip.Addr) *place {
	t.Helper()
	l, err := ns.Netlink().LinkByName(link)
	must(t, err)
	p := &place{name: name, ns: ns, link: link, index: l.Attrs().Index, mac: l.Attrs().HardwareAddr, heard: map[string]bool{}}
	for _, a := range addrs {
		if a.Is4() {
			p.v4 = a
		} else {
			p.v6 = a
		}
	}
	must(t, ns.Do(func() error {
		const all = syscall.ETH_P_ALL << 8 // in network byte order
		fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		p.socket = os.NewFile(uintptr(fd), "packets of "+name)
		if err := syscall.SetsockoptInt(fd, solPacket, packetIgnoreOutgoing, 1); err != nil {
			return err
		}
		return syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: p.index})
	}))
	p.done.Go(func() { p.listen(t) })
	t.Cleanup(func() {
		must(t, p.socket.Close())
		p.done.Wait()
	})
	return p
}

func (p *place) listen(t *testing.T) {
	buf := make([]byte, 1<<16)
	for {
		n, err := p.socket.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, syscall.ENETDOWN):
			continue // its Open vSwitch is away
		case err != nil:
			t.Errorf("listen at %s: %v", p.name, err)
			return
		}
		p.mu.Lock()
		for _, mark := range markPattern.FindAll(buf[:n], -1) {
			p.heard[string(mark)] = true
		}
		p.mu.Unlock()
	}
}

func (p *place) hears(mark string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard[mark]
}

// send puts frames on the wire as they are.
func (p *place) send(frames [][]byte) error {
	for _, frame := range frames {
		if _, err := p.socket.Write(frame); err != nil && !errors.Is(err, syscall.ENETDOWN) {
			return fmt.Errorf("send from %s: %w", p.name, err)
		}
	}
	return nil
}

// attack is an honest packet from one place to another with one lie. The honest packet must arrive, the lie nowhere but
// at the places in seen.
type attack struct {
	name     string
	from, to *place
	honest   func(from, to *place, v6 bool) packet
	lie      func(p *packet)
	only     string   // "4" or "6": the family it is about
	seen     []*place // of the attacker's own network, who may see it
}

func (a attack) families() []bool {
	switch a.only {
	case "4":
		return []bool{false}
	case "6":
		return []bool{true}
	default:
		return []bool{false, true}
	}
}

func (a attack) mark(kind string, v6 bool, phase string) string {
	return fmt.Sprintf("<%s: %s, v6 %v, %s, from %s to %s>", kind, a.name, v6, phase, a.from.name, a.to.name)
}

// packets are the honest one and the lie.
func (a attack) packets(v6 bool, phase string) (honest, lie packet) {
	build := direct
	if a.honest != nil {
		build = a.honest
	}
	honest, lie = build(a.from, a.to, v6), build(a.from, a.to, v6)
	honest.payload = []byte(a.mark("honest", v6, phase))
	lie.payload = []byte(a.mark("attack", v6, phase))
	a.lie(&lie)
	return honest, lie
}

// direct goes to the other's MAC.
func direct(from, to *place, v6 bool) packet {
	return packet{ethDst: to.mac, ethSrc: from.mac, src: from.addr(v6), dst: to.addr(v6), sport: 5001, dport: 5002, hops: 64}
}

// routed goes to the gateway's.
func routed(from, to *place, v6 bool) packet {
	p := direct(from, to, v6)
	p.ethDst = from.gw
	return p
}

func (a attack) send(v6 bool, phase string, rounds int) error {
	honest, lie := a.packets(v6, phase)
	for range rounds {
		if err := errors.Join(a.from.send(lie.frames()), a.from.send(honest.frames())); err != nil {
			return err
		}
	}
	return nil
}

// strike sends all attacks and looks who heard them.
func strike(t *testing.T, phase string, attacks []attack, everywhere []*place) {
	t.Helper()
	for _, a := range attacks {
		for _, v6 := range a.families() {
			testutil.Eventually(t, settle, func() error {
				if err := a.send(v6, phase, 2); err != nil {
					return err
				}
				if mark := a.mark("honest", v6, phase); !a.to.hears(mark) {
					return fmt.Errorf("the control does not arrive, so the attack shows nothing: %s", mark)
				}
				return nil
			})
		}
	}
	unheard(t, phase, attacks, everywhere)
}

// besiege sends the lies alone, again and again while do runs.
func besiege(t *testing.T, phase string, attacks []attack, everywhere []*place, do func()) {
	t.Helper()
	over := make(chan struct{})
	var siege sync.WaitGroup
	rounds := 0
	siege.Go(func() {
		for ; ; rounds++ {
			for _, a := range attacks {
				for _, v6 := range a.families() {
					_, lie := a.packets(v6, phase)
					if err := a.from.send(lie.frames()); err != nil {
						t.Error(err)
					}
				}
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	do()
	close(over)
	siege.Wait()
	t.Logf("%s: %d rounds of %d attacks", phase, rounds, len(attacks))
	unheard(t, phase, attacks, everywhere)
}

func unheard(t *testing.T, phase string, attacks []attack, everywhere []*place) {
	t.Helper()
	for _, a := range attacks {
		for _, v6 := range a.families() {
			for _, p := range everywhere {
				if p != a.from && !slices.Contains(a.seen, p) && p.hears(a.mark("attack", v6, phase)) {
					t.Errorf("arrived at %s: %s", p.name, a.mark("attack", v6, phase))
				}
			}
		}
	}
}

// battlefield is two overlay networks with the same subnets and addresses on three nodes, and bridge networks on the
// first.
type battlefield struct {
	rig                          *testutil.Rig
	a, b, c, e                   *place // blue, on the first, second, first and third host
	x, y                         *place // green, on the first and second
	web, web2, db, old           *place // bridge networks web, db, old on the first; old has no IPv6
	outside                      *place
	lodger                       *place   // a container of someone else's on the first host, who masquerades it
	nodes                        []*place // the hosts on the underlay
	gates                        []*place // the hosts' ends of the overlay's way out
	blueVNI, greenVNI            uint32
	greenTransit4, greenTransit6 netip.Addr
}

func (f *battlefield) everywhere() []*place {
	return append([]*place{f.a, f.b, f.c, f.e, f.x, f.y, f.web, f.web2, f.db, f.old, f.outside, f.lodger}, f.gates...)
}

func newBattlefield(t *testing.T) *battlefield {
	t.Helper()
	ctx := t.Context()
	f := &battlefield{rig: newHosts(t, 3, testutil.HostsOptions{})}
	h := f.rig.Hosts
	overlay := []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")}
	for _, n := range []nodeagent.Network{
		{Driver: "ovs-vxlan", Name: "blue", Subnets: overlay},
		{Driver: "ovs-vxlan", Name: "green", Subnets: overlay},
		{Driver: "bridge", Name: "web", Subnets: []netip.Prefix{prefix("10.8.0.0/24"), prefix("fd08::/64")}},
		{Driver: "bridge", Name: "db", Subnets: []netip.Prefix{prefix("10.9.0.0/24"), prefix("fd09::/64")}},
		{Driver: "bridge", Name: "old", Subnets: []netip.Prefix{prefix("10.7.0.0/24")}},
	} {
		must(t, h[0].Call(ctx, "network.create", n, nil))
	}
	sandbox := func(h *testutil.Host, network, name string, addrs ...string) *place {
		var want []netip.Addr
		for _, a := range addrs {
			want = append(want, addr(a))
		}
		m := newMember(t, h, network, name, want...)
		// This finds the gateway's MAC. Links have just been made, and the switch loses what it has at such moments.
		testutil.Eventually(t, settle, func() error { return reach(ctx, m.ns, f.rig.Outside4) })
		p := newPlace(t, name, m.ns, "eth0", m.addrs...)
		neighbors, err := m.ns.Netlink().NeighList(p.index, syscall.AF_INET)
		must(t, err)
		for _, n := range neighbors {
			if n.HardwareAddr != nil && n.IP.String()[:3] == "10." {
				p.gw = n.HardwareAddr
			}
		}
		return p
	}
	f.a = sandbox(h[0], "blue", "a", "10.1.0.10", "fd01::10")
	f.b = sandbox(h[1], "blue", "b", "10.1.0.11", "fd01::11")
	f.c = sandbox(h[0], "blue", "c", "10.1.0.12", "fd01::12")
	f.e = sandbox(h[2], "blue", "e", "10.1.0.13", "fd01::13")
	f.x = sandbox(h[0], "green", "x", "10.1.0.20", "fd01::20")
	f.y = sandbox(h[1], "green", "y", "10.1.0.11", "fd01::11")
	f.web, f.web2 = sandbox(h[0], "web", "web"), sandbox(h[0], "web", "web2")
	f.db, f.old = sandbox(h[0], "db", "db"), sandbox(h[0], "old", "old")
	f.outside = newPlace(t, "outside", f.rig.Outside, "eth0", f.rig.Outside4, f.rig.Outside6)
	f.lodger = newLodger(t, h[0])
	for _, host := range h {
		f.nodes = append(f.nodes, newPlace(t, host.Name, host.NS, host.Physical, host.Addr4, host.Addr6))
		f.gates = append(f.gates, newPlace(t, "gateway of "+host.Name, host.NS, "cnm-gw0"))
	}
	var info nodeagent.NetworkInfo
	must(t, h[0].Call(ctx, "network.info", "blue", &info))
	f.blueVNI = info.VNI
	must(t, h[0].Call(ctx, "network.info", "green", &info))
	f.greenVNI = info.VNI
	for flow := range strings.SplitSeq(h[0].OVS.Ofctl(t, "dump-flows", "cnm-int", "table=30"), "\n") {
		if !strings.Contains(flow, fmt.Sprintf("actions=load:%#x->NXM_NX_REG0", f.greenVNI)) && !strings.Contains(flow, fmt.Sprintf("set_field:%#x->reg0", f.greenVNI)) {
			continue
		}
		for _, m := range regexp.MustCompile(`(nw_dst|ipv6_dst)=([0-9a-f.:]+)`).FindAllStringSubmatch(flow, -1) {
			if a := addr(m[2]); a.Is4() {
				f.greenTransit4 = a
			} else {
				f.greenTransit6 = a
			}
		}
	}
	if !f.greenTransit4.IsValid() || !f.greenTransit6.IsValid() {
		t.Fatalf("no transit addresses of green")
	}
	startMirror(t, f.rig.Outside)
	startMirror(t, h[0].NS)
	return f
}

func newLodger(t *testing.T, h *testutil.Host) *place {
	t.Helper()
	ns := testutil.NewNS(t)
	testutil.Connect(t, h.NS, "other0", ns, "eth0")
	ns.TxOff(t, "eth0")
	host4, host6 := prefix("10.66.0.1/24"), prefix("fd66::1/64")
	h.NS.AddAddr(t, "other0", host4, host6)
	ns.AddAddr(t, "eth0", prefix("10.66.0.2/24"), prefix("fd66::2/64"))
	ns.AddRoute(t, netip.Prefix{}, host4.Addr())
	ns.AddRoute(t, netip.Prefix{}, host6.Addr())
	h.Run(t, "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", "10.66.0.0/24", "!", "-o", "other0", "-j", "MASQUERADE")
	h.Run(t, "ip6tables", "-w", "-t", "nat", "-A", "POSTROUTING", "-s", "fd66::/64", "!", "-o", "other0", "-j", "MASQUERADE")
	p := newPlace(t, "lodger", ns, "eth0", addr("10.66.0.2"), addr("fd66::2"))
	l, err := h.NS.Netlink().LinkByName("other0")
	must(t, err)
	p.gw = l.Attrs().HardwareAddr
	return p
}

// startMirror sends every datagram to port 5002 back to where it came from.
func startMirror(t *testing.T, in *testutil.NS) {
	t.Helper()
	var conn net.PacketConn
	must(t, in.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", ":5002")
		return err
	}))
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed below
			}
			_, _ = conn.WriteTo(buf[:n], from) //nolint:errcheck // the sender notices
		}
	})
	t.Cleanup(func() {
		must(t, conn.Close())
		done.Wait()
	})
}

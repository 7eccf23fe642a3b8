package iptables

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	echoPort = 7000
	// An answer takes well under 1 ms. silence is how long one that should not come is waited for, patience how long
	// one that should: a lost neighbour solicitation is repeated after a second, and the machine may be busy.
	silence  = 300 * time.Millisecond
	patience = 5 * time.Second
)

// rig is a host with networks on it and a neighbour that routes to all of them.
type rig struct {
	*host
	t    *testing.T
	spec Spec
	ns   map[string]*testutil.NS // "host", "outside", and sandboxes such as "a1"
	addr map[string][2]netip.Addr

	mu      sync.Mutex                      // guards clients
	clients map[netip.AddrPort]*net.UDPConn // who asked, and the server's socket
}

// newRig makes a host with the bridge networks a (sandboxes a1, a2), b (b1) and internal i (i1, i2), an overlay's gateway
// g behind which g1 stands for the overlay, and a neighbour called outside. No rules are set.
func newRig(t *testing.T, backend string) *rig {
	r := &rig{host: newHost(t, backend), t: t, ns: make(map[string]*testutil.NS), addr: make(map[string][2]netip.Addr),
		clients: make(map[netip.AddrPort]*net.UDPConn)}
	for _, f := range families {
		// Somebody on the host uses conntrack, so flows are tracked even while there are none of our rules.
		r.iptables(t, f, "-t raw -A PREROUTING -m conntrack --ctstate INVALID -j RETURN")
	}
	r.ns["host"] = r.NS
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		r.Sysctl(t, key, "1")
	}
	outside := testutil.NewNS(t)
	r.ns["outside"] = outside
	testutil.Connect(t, r.NS, "eth0", outside, "eth0")
	r.NS.AddAddr(t, "eth0", pfx("198.51.100.1/24"), pfx("2001:db8::1/64"))
	outside.AddAddr(t, "eth0", pfx("198.51.100.2/24"), pfx("2001:db8::2/64"))
	outside.AddRoute(t, netip.Prefix{}, ip("198.51.100.1"))
	outside.AddRoute(t, netip.Prefix{}, ip("2001:db8::1"))
	r.addr["host"] = [2]netip.Addr{ip("198.51.100.1"), ip("2001:db8::1")}
	r.addr["outside"] = [2]netip.Addr{ip("198.51.100.2"), ip("2001:db8::2")}

	r.spec = Spec{Owner: "test", Networks: bridgeNetworks(3)}
	for i, name := range []string{"a", "b", "i"} {
		n := &r.spec.Networks[i]
		attrs := netlink.NewLinkAttrs()
		attrs.Name = n.Interface
		if err := r.Netlink().LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			t.Fatal(err)
		}
		r.LinkUp(t, n.Interface)
		r.addGateway(name, *n)
		for j := range 2 {
			r.addSandbox(fmt.Sprintf("%s%d", name, j+1), *n, j+1)
		}
	}
	r.spec.Networks[2].Internal, r.spec.Networks[2].Masquerade = true, false

	g := Network{
		ID: "gateway", Interface: "cnm-gw0", Transit: true, Masquerade: true,
		Subnets:  []netip.Prefix{pfx("169.254.64.0/18"), pfx("fd5c::/64")},
		Gateways: []netip.Addr{ip("169.254.64.1"), ip("fd5c::1")},
	}
	g1 := testutil.NewNS(t)
	testutil.Connect(t, r.NS, g.Interface, g1, "eth0")
	r.addGateway("g", g)
	r.addAddresses("g1", g1, g, 1)
	r.spec.Networks = append(r.spec.Networks, g)
	return r
}

// addGateway gives the host its addresses in a network.
func (r *rig) addGateway(name string, n Network) {
	r.addr[name] = [2]netip.Addr(n.Gateways)
	for i, g := range n.Gateways {
		r.AddAddr(r.t, n.Interface, netip.PrefixFrom(g, n.Subnets[i].Bits()))
	}
}

// addSandbox makes a namespace with an interface on the network's bridge.
func (r *rig) addSandbox(name string, n Network, i int) {
	ns, port := testutil.NewNS(r.t), "cnmv"+name
	testutil.Connect(r.t, r.NS, port, ns, "eth0")
	br, err := r.Netlink().LinkByName(n.Interface)
	if err != nil {
		r.t.Fatal(err)
	}
	link, err := r.Netlink().LinkByName(port)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Netlink().LinkSetMaster(link, br); err != nil {
		r.t.Fatal(err)
	}
	r.addAddresses(name, ns, n, i)
}

// addAddresses gives a namespace the i-th addresses after the gateways, and default routes to those.
func (r *rig) addAddresses(name string, ns *testutil.NS, n Network, i int) {
	var addrs [2]netip.Addr
	for f, g := range n.Gateways {
		addrs[f] = g
		for range i {
			addrs[f] = addrs[f].Next()
		}
		ns.AddAddr(r.t, "eth0", netip.PrefixFrom(addrs[f], n.Subnets[f].Bits()))
	}
	for _, g := range n.Gateways {
		ns.AddRoute(r.t, netip.Prefix{}, g)
	}
	r.ns[name], r.addr[name] = ns, addrs
}

// serve answers every datagram to one of ns's names with the address it came from.
func (r *rig) serve(ns string, port uint16, names ...string) {
	for _, name := range names {
		for _, a := range r.addr[name] {
			r.serveAt(ns, netip.AddrPortFrom(a, port))
		}
	}
}

func (r *rig) serveAt(ns string, at netip.AddrPort) {
	r.t.Helper()
	var conn *net.UDPConn
	err := r.ns[ns].Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		r.t.Fatalf("serve %s in %s: %v", at, ns, err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err == nil {
				r.mu.Lock()
				r.clients[from] = conn
				r.mu.Unlock()
				_, err = conn.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Anything else the asker notices, or it is an ICMP error for an earlier answer.
		}
	})
	r.t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
}

// flow is a connected UDP socket, so all its datagrams are one connection to conntrack.
type flow struct{ *net.UDPConn }

func (r *rig) flow(from string, to netip.AddrPort) flow {
	r.t.Helper()
	var conn *net.UDPConn
	err := r.ns[from].Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		r.t.Fatalf("socket from %s to %s: %v", from, to, err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return flow{conn}
}

// ask sends datagrams until one is answered, and returns by which address the server knows the sender. open says whether
// an answer is expected.
func (f flow) ask(open bool) (netip.Addr, error) {
	timeout := silence
	if open {
		timeout = patience
	}
	var sender netip.Addr
	err := testutil.Wait(context.Background(), timeout, func() error {
		if _, err := f.Write([]byte("?")); err != nil {
			return err
		}
		if err := f.SetReadDeadline(time.Now().Add(silence / 6)); err != nil {
			return err
		}
		buf := make([]byte, 64)
		n, err := f.Read(buf)
		if err != nil {
			return err
		}
		sender, err = netip.ParseAddr(string(buf[:n]))
		return err
	})
	return sender, err
}

// attempt is one question: does a datagram get from here to there and an answer back?
type attempt struct {
	from, to string
	port     uint16 // 0: echoPort
	open     bool
	seenAs   string // whose address the server must see; empty: the sender's own
	heard    bool   // of a held flow that is not open: what the other side sends arrives all the same
}

// expect asks all probes in both families at the same time.
func (r *rig) expect(when string, attempts ...attempt) {
	r.t.Helper()
	var wg sync.WaitGroup
	for _, p := range attempts {
		if p.port == 0 {
			p.port = echoPort
		}
		for i, f := range families {
			fl := r.flow(p.from, netip.AddrPortFrom(r.addr[p.to][i], p.port))
			wg.Go(func() {
				sender, err := fl.ask(p.open)
				if open := err == nil; open != p.open {
					r.t.Errorf("%s: %s: %s -> %s port %d: open %t, want %t (%v)", when, f, p.from, p.to, p.port, open, p.open, err)
					return
				}
				want := p.seenAs
				if want == "" {
					want = p.from
				}
				if err == nil && sender != r.addr[want][i] {
					r.t.Errorf("%s: %s: %s -> %s: seen as %s, want %s", when, f, p.from, p.to, sender, r.addr[want][i])
				}
			})
		}
	}
	wg.Wait()
}

// push lets the servers send something to all who asked them so far.
func (r *rig) push() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for client, server := range r.clients {
		if _, err := server.WriteToUDPAddrPort([]byte("!"), client); err != nil && !errors.Is(err, syscall.EPERM) {
			r.t.Errorf("push from %s to %s: %v", server.LocalAddr(), client, err)
		}
	}
}

// hears waits for what push sends.
func (f flow) hears(open bool) error {
	timeout := silence
	if open {
		timeout = patience
	}
	if err := f.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	buf := make([]byte, 64)
	for {
		n, err := f.Read(buf)
		if err != nil || string(buf[:n]) == "!" {
			return err
		}
	}
}

// heldFlow is a flow that is used again and again, so that conntrack takes it for established.
type heldFlow struct {
	attempt
	flow
	family Family
}

func (r *rig) hold(p attempt) []heldFlow {
	r.t.Helper()
	var held []heldFlow
	for i, f := range families {
		held = append(held, heldFlow{p, r.flow(p.from, netip.AddrPortFrom(r.addr[p.to][i], echoPort)), f})
	}
	return held
}

// expectHeld asks all held flows at the same time, and then lets the other side speak first.
func (r *rig) expectHeld(when string, rules bool, held []heldFlow) {
	r.t.Helper()
	each := func(direction string, open func(heldFlow) bool, try func(h heldFlow, open bool) error) {
		var wg sync.WaitGroup
		for _, h := range held {
			wg.Go(func() {
				want := !rules || open(h)
				if err := try(h, want); (err == nil) != want {
					r.t.Errorf("%s: %s: held flow %s %s %s: %v, want open: %t", when, h.family, h.from, direction, h.to, err, want)
				}
			})
		}
		wg.Wait()
	}
	each("->", func(h heldFlow) bool { return h.open }, func(h heldFlow, open bool) error {
		_, err := h.ask(open)
		return err
	})
	r.push()
	each("<-", func(h heldFlow) bool { return h.open || h.heard }, func(h heldFlow, open bool) error { return h.hears(open) })
}

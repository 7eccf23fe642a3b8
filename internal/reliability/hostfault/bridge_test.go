package hostfault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/testutil"
)

// bridgeWorld is a host without Open vSwitch and two networks of its own.
type bridgeWorld struct {
	*world
	host             *testutil.Host
	red1, red2, red3 *box
	blue1, blue2     *box
}

func newBridgeWorld(t *testing.T) *bridgeWorld {
	t.Helper()
	w := &bridgeWorld{world: newWorld(t, 1, testutil.HostsOptions{NoOVS: true})}
	w.host = w.Hosts[0]
	w.network(t, w.host, "bridge", "red", 1)
	w.network(t, w.host, "bridge", "blue", 2)
	for name, b := range map[string]**box{"red1": &w.red1, "red2": &w.red2, "red3": &w.red3} {
		*b = w.box(t, w.host, "red", name)
	}
	for name, b := range map[string]**box{"blue1": &w.blue1, "blue2": &w.blue2} {
		*b = w.box(t, w.host, "blue", name)
	}
	works(t, between(w.red1, w.red2), between(w.red2, w.red3), between(w.blue1, w.blue2), w.out(w.red1))
	w.stream(t, w.blue1, w.blue2)
	w.forbid(t, w.red2, w.blue1)
	w.forbid(t, w.blue2, w.red3)
	return w
}

func (w *bridgeWorld) link(t *testing.T, do func(*netlink.Handle, netlink.Link) error, which func(*testing.T) netlink.Link) {
	t.Helper()
	must(t, do(w.host.NS.Netlink(), which(t)))
}

// inside does something to the interface in a box.
func (b *box) inside(t *testing.T, do func(h *netlink.Handle, l netlink.Link) error) {
	t.Helper()
	h := b.ns.Netlink()
	l, err := h.LinkByName("eth0")
	must(t, err)
	must(t, do(h, l))
}

func TestBridge(t *testing.T) {
	t.Parallel()
	w := newBridgeWorld(t)
	others := []route{between(w.red2, w.red3), between(w.blue1, w.blue2)}
	pair := []route{between(w.red1, w.red2)}
	var squat squatter
	for _, f := range []fault{
		{name: "rules flushed", do: func(t *testing.T) { flushRules(t, w.host) }, hurt: []route{w.out(w.red1)}, calm: others},
		{name: "ruleset flushed", do: func(t *testing.T) { w.host.Run(t, "nft", "flush", "ruleset") }, hurt: []route{w.out(w.red1)}, calm: others},
		{name: "veth deleted", do: func(t *testing.T) { w.link(t, (*netlink.Handle).LinkDel, w.red1.veth) }, hurt: pair, calm: others},
		{name: "veth down", do: func(t *testing.T) { w.link(t, (*netlink.Handle).LinkSetDown, w.red1.veth) }, hurt: pair, calm: others},
		{name: "veth in no bridge", do: func(t *testing.T) { w.link(t, (*netlink.Handle).LinkSetNoMaster, w.red1.veth) }, hurt: pair, calm: others},
		{name: "bridge deleted", do: func(t *testing.T) { w.link(t, (*netlink.Handle).LinkDel, w.red1.bridge) }, hurt: append(pair, w.out(w.red3)), calm: others[1:]},
		{name: "bridge down", do: func(t *testing.T) { w.link(t, (*netlink.Handle).LinkSetDown, w.red1.bridge) }, hurt: append(pair, w.out(w.red3)), calm: others[1:]},
		{name: "gateway addresses removed", do: func(t *testing.T) { w.link(t, removeAddrs, w.red1.bridge) }, hurt: []route{w.out(w.red1)}, calm: others},
		{name: "forwarding off", do: func(t *testing.T) { stopForwarding(t, w.host) }, hurt: []route{w.out(w.red1)}, calm: others},
		{name: "interface deleted", do: func(t *testing.T) { w.red1.inside(t, (*netlink.Handle).LinkDel) }, hurt: pair, calm: others},
		{name: "interface renamed", do: func(t *testing.T) { w.red1.inside(t, rename) }, hurt: pair, calm: others},
		{name: "interface down", do: func(t *testing.T) { w.red1.inside(t, (*netlink.Handle).LinkSetDown) }, hurt: pair, calm: others},
		{name: "addresses removed", do: func(t *testing.T) { w.red1.inside(t, removeAddrs) }, hurt: pair, calm: others},
		{name: "routes removed", do: func(t *testing.T) { w.red1.inside(t, removeRoutes) }, hurt: []route{w.out(w.red1)}, calm: append(others, pair...)},
		{name: "namespace unmounted", do: func(t *testing.T) { w.red1.unmount(t) }, calm: append(others, pair...)},
		{name: "another's link in the veth's place", do: squat.squat(w.host, w.red1.veth), end: squat.leave, hurt: pair, calm: others},
		{
			name: "another's link in the bridge's place", do: squat.squat(w.host, w.red1.bridge), end: squat.leave,
			hurt: append(pair, w.out(w.red3)), calm: others[1:],
		},
	} {
		w.try(t, f)
	}
	w.sealed(t)
}

func rename(h *netlink.Handle, l netlink.Link) error {
	if err := h.LinkSetDown(l); err != nil {
		return err
	}
	if err := h.LinkSetName(l, "other0"); err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

func removeAddrs(h *netlink.Handle, l netlink.Link) error {
	addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Scope != unix.RT_SCOPE_LINK {
			if err := h.AddrDel(l, &a); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeRoutes removes the default routes.
func removeRoutes(h *netlink.Handle, l netlink.Link) error {
	routes, err := h.RouteList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	removed := 0
	for _, r := range routes {
		if r.Gw != nil {
			if err := h.RouteDel(&r); err != nil {
				return err
			}
			removed++
		}
	}
	if removed != 2 {
		return fmt.Errorf("%d default routes in %v, want one of each family", removed, routes)
	}
	return nil
}

func stopForwarding(t *testing.T, h *testutil.Host) {
	h.NS.Sysctl(t, "net/ipv4/ip_forward", "0")
	h.NS.Sysctl(t, "net/ipv6/conf/all/forwarding", "0")
}

// flushRules removes all rules and chains, of each family at once.
func flushRules(t *testing.T, h *testutil.Host) {
	for _, program := range []string{"iptables-restore", "ip6tables-restore"} {
		restore := h.Command(program)
		restore.Stdin = strings.NewReader("*raw\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n")
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
}

// unmount takes the name of the box's namespace away. What is inside lives on.
func (b *box) unmount(t *testing.T) {
	b.host.Run(t, "umount", "--lazy", b.key)
	b.host.Run(t, "rm", b.key)
}

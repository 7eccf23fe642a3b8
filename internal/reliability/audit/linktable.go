package audit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/link"
)

// routeProtocol is the mark of libcnm's routes.
const routeProtocol = 207

// linkTable is what the kernel says of one namespace.
type linkTable struct {
	byName  map[string]foundLink
	byIndex map[int]foundLink
	routes  []route // ours
	others  []route // everyone else's default routes
}

type foundLink struct {
	name, kind, alias string
	index             int
	group             uint32
	mac               drivers.MAC
	mtu               int
	up                bool
	master            int
	peer              int // index of a veth's other end
	addrs             []netip.Prefix
}

// route is a route of the main table.
type route struct {
	dst    netip.Prefix
	via    netip.Addr
	dev    string
	mtu    int
	metric int
}

func (r route) String() string {
	text := r.dst.String()
	if r.via.IsValid() {
		text += " via " + r.via.String()
	}
	text += " dev " + r.dev
	if r.mtu != 0 {
		text += fmt.Sprintf(" mtu %d", r.mtu)
	}
	return text
}

// readLinks reads links, addresses and routes of the handle's namespace.
func readLinks(h *netlink.Handle) (*linkTable, error) {
	links, err := link.Complete(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w: %w", err, errdefs.ErrUnavailable)
	}
	t := &linkTable{byName: map[string]foundLink{}, byIndex: map[int]foundLink{}}
	addrs, err := link.Complete(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w: %w", err, errdefs.ErrUnavailable)
	}
	byLink := map[int][]netip.Prefix{}
	for _, a := range addrs {
		if p := prefixOf(a.IPNet); !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() { // the kernel's own
			byLink[a.LinkIndex] = append(byLink[a.LinkIndex], p)
		}
	}
	for _, l := range links {
		at := l.Attrs()
		f := foundLink{
			name: at.Name, kind: l.Type(), alias: at.Alias, index: at.Index, group: at.Group, mtu: at.MTU,
			up: at.Flags&net.FlagUp != 0, master: at.MasterIndex, peer: at.ParentIndex, addrs: byLink[at.Index],
		}
		if len(at.HardwareAddr) == len(f.mac) {
			f.mac = drivers.MAC(at.HardwareAddr)
		}
		slices.SortFunc(f.addrs, netip.Prefix.Compare)
		t.byName[f.name], t.byIndex[f.index] = f, f
	}
	return t, t.readRoutes(h)
}

func (t *linkTable) readRoutes(h *netlink.Handle) error {
	list, err := link.Complete(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, 0)
	})
	if err != nil {
		return fmt.Errorf("list routes: %w: %w", err, errdefs.ErrUnavailable)
	}
	for _, r := range list {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		dst := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Family == unix.AF_INET6 {
			dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if r.Dst != nil {
			if p := prefixOf(r.Dst); p.Bits() > 0 {
				dst = p
			}
		}
		via, _ := netip.AddrFromSlice(r.Gw) // the zero Addr for none
		out := route{dst: dst, via: via.Unmap(), dev: t.byIndex[r.LinkIndex].name, mtu: r.MTU, metric: r.Priority}
		switch {
		case r.Protocol == routeProtocol:
			out.metric = 0 // the kernel's choice
			t.routes = append(t.routes, out)
		case dst.Bits() == 0:
			t.others = append(t.others, out)
		}
	}
	return nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

// sysctl reads a sysctl of the calling thread's namespace; empty: there is none.
func sysctl(key string) (string, error) {
	raw, err := os.ReadFile("/proc/sys/" + key)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w: %w", err, errdefs.ErrUnavailable)
	}
	return strings.Join(strings.Fields(string(raw)), " "), nil // lists are written with spaces and read with tabs
}

// defaultMTU is that of the interface the first default route leads to, an IPv4 one rather than an IPv6 one.
func (t *linkTable) defaultMTU() int {
	list := slices.Clone(t.others)
	slices.SortStableFunc(list, func(x, y route) int {
		if x4, y4 := x.dst.Addr().Is4(), y.dst.Addr().Is4(); x4 != y4 {
			if x4 {
				return -1
			}
			return 1
		}
		return x.metric - y.metric
	})
	for _, r := range list {
		if len(t.byName[r.dev].addrs) > 0 {
			return t.byName[r.dev].mtu
		}
	}
	return 1500
}

// with returns the link that has an address.
func (t *linkTable) with(addr netip.Addr) (foundLink, bool) {
	for _, l := range t.byName {
		for _, p := range l.addrs {
			if p.Addr() == addr {
				return l, true
			}
		}
	}
	return foundLink{}, false
}

// auditRoutes compares a namespace's routes of ours with those wanted.
func (a *audit) auditRoutes(t *linkTable, where string, want []route) error {
	have := slices.Clone(t.routes)
	for _, w := range want {
		at := slices.IndexFunc(have, func(r route) bool { return r.dst == w.dst })
		if at < 0 {
			a.add(Missing, "route "+w.dst.String(), "in %s: want %s", where, w)
			continue
		}
		if have[at] != w {
			a.add(Wrong, "route "+w.dst.String(), "in %s: want %s, have %s", where, w, have[at])
		}
		have = slices.Delete(have, at, at+1)
	}
	for _, r := range have {
		a.add(Stray, "route "+r.dst.String(), "in %s: %s", where, r)
	}
	return nil
}

// auditForwarding looks at the sysctls without which networks that are not internal have no egress.
func (a *audit) auditForwarding() error {
	want := map[string]string{} // a network that needs it
	for _, driver := range []string{bridgeDriver, overlayDriver} {
		for _, n := range a.active(driver) {
			for _, s := range n.Subnets {
				key := "net/ipv6/conf/all/forwarding"
				if s.Prefix.Addr().Is4() {
					key = "net/ipv4/ip_forward"
				}
				if !n.Internal {
					want[key] = n.ID
				}
			}
		}
	}
	for key, id := range want {
		have, err := sysctl(key)
		if err != nil {
			return err
		}
		if have != "1" {
			a.add(Wrong, "sysctl "+key, "it is %q, and network %s needs 1", have, id)
		}
	}
	return nil
}

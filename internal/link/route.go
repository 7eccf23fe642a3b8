package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// routeProtocol marks the routes made here ("ip route" shows "proto 207"). Numbers from 192 on are free for anyone; no
// routing daemon in /etc/iproute2/rt_protos has this one.
const routeProtocol = 207

// Route is a route of the main table. A default route has Dst 0.0.0.0/0 or ::/0.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr // the next hop; zero: Dst is on the link
	Dev string     // interface
	MTU int        // bytes, for this destination; 0: the interface's

	ours   bool
	index  int
	metric int
	src    netip.Addr
}

func (r Route) String() string {
	text := r.Dst.String()
	if r.Via.IsValid() {
		text += " via " + r.Via.String()
	}
	text += " dev " + r.Dev
	if r.MTU != 0 {
		text += fmt.Sprintf(" mtu %d", r.MTU)
	}
	return text
}

// public leaves what a caller said or may know.
func (r Route) public() Route { return Route{Dst: r.Dst, Via: r.Via, Dev: r.Dev, MTU: r.MTU} }

func (r Route) validate() error {
	bad := func(why string) error {
		return classed("check route", r.String(), errdefs.ErrInvalid, "%s", why)
	}
	switch {
	case !r.Dst.IsValid() || r.Dst != r.Dst.Masked() || r.Dst.Addr().Is4In6():
		return bad("the destination is not a canonical prefix")
	case r.Via.IsValid() && (r.Via.Is4() != r.Dst.Addr().Is4() || r.Via.Zone() != "" || r.Via.IsUnspecified()):
		return bad("the next hop does not fit the destination")
	case r.MTU < 0 || r.MTU > 65535:
		return bad("the MTU is outside 0..65535")
	}
	return CheckName(r.Dev)
}

// Routes returns the unicast routes of the main table, ours and others', both families.
func (h *Handle) Routes(ctx context.Context) ([]Route, error) {
	var out []Route
	err := h.use(ctx, func(c *conn) error {
		all, err := c.routes()
		for _, r := range all {
			out = append(out, r.public())
		}
		return err
	})
	return out, err
}

// SetRoutes makes want the namespace's routes, as far as they are ours: missing ones are added, changed ones replaced
// in place, then ours that are not wanted removed. Routes that somebody else made stay; one of theirs to a wanted
// destination is ErrExists. At most one route per destination. One of ours for which spare is true stays, whatever is wanted
// to its destination; a nil spare spares none.
func (h *Handle) SetRoutes(ctx context.Context, want []Route, spare func(Route) bool) error {
	for i, r := range want {
		if err := r.validate(); err != nil {
			return err
		}
		if slices.ContainsFunc(want[:i], func(o Route) bool { return o.Dst == r.Dst }) {
			return classed("check route", r.String(), errdefs.ErrInvalid, "a second one to this destination")
		}
	}
	return h.use(ctx, func(c *conn) error {
		have, err := c.routes()
		if err != nil {
			return err
		}
		known := make(map[string]int)
		for _, r := range have {
			known[r.Dev] = r.index
		}
		set, remove := routeDiff(have, want, spare)
		changes := make([]change, 0, len(set))
		for _, r := range set {
			if r.index = known[r.Dev]; r.index == 0 {
				l, err := c.link(r.Dev)
				if err != nil {
					return fmt.Errorf("route %s: %w", r, err)
				}
				r.index = l.Index
			}
			changes = append(changes, r.set())
		}
		if err := c.changes.apply(changes...); err != nil {
			return err
		}
		changes = changes[:0]
		for _, r := range remove {
			changes = append(changes, r.remove())
		}
		return c.changes.apply(changes...)
	})
}

// CheckRoutes names what SetRoutes would change: every one of want that is missing or different, and every route of ours beyond
// them.
func (h *Handle) CheckRoutes(ctx context.Context, want []Route, spare func(Route) bool) ([]Difference, error) {
	var d differences
	err := h.use(ctx, func(c *conn) error {
		have, err := c.routes()
		if err != nil {
			return err
		}
		set, remove := routeDiff(have, want, spare)
		for _, r := range set {
			now := ""
			if at := slices.IndexFunc(have, func(o Route) bool { return o.ours && o.Dst == r.Dst }); at >= 0 {
				now = have[at].String()
			}
			d.add("route to "+r.Dst.String(), r.String(), now)
		}
		for _, r := range remove {
			d.add("route to "+r.Dst.String(), "", r.String())
		}
		return nil
	})
	return d, err
}

// routeDiff says what to set, marked as ours where that replaces a route of ours, and what to remove.
func routeDiff(have, want []Route, spare func(Route) bool) (set, remove []Route) {
	spared := func(r Route) bool { return spare != nil && spare(r.public()) }
	for _, w := range want {
		same := func(h Route) bool { return h.ours && h.Dst == w.Dst }
		at := slices.IndexFunc(have, same)
		if at < 0 || have[at].public() != w.public() && !spared(have[at]) {
			w.ours = at >= 0
			set = append(set, w)
		}
	}
	for _, h := range have {
		if h.ours && !spared(h) && !slices.ContainsFunc(want, func(w Route) bool { return w.Dst == h.Dst }) {
			remove = append(remove, h)
		}
	}
	return set, remove
}

func (r Route) set() change {
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if r.ours {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	return r.change("add route", unix.RTM_NEWROUTE, flags)
}

func (r Route) remove() change {
	c := r.change("remove route", unix.RTM_DELROUTE, 0)
	c.absentOK = true
	return c
}

func (r Route) change(op string, kind, flags int) change {
	msg := nl.NewRtMsg()
	msg.Family = uint8(familyOf(r.Dst.Addr()))
	msg.Dst_len = uint8(r.Dst.Bits())
	msg.Protocol = routeProtocol
	attrs := []*nl.RtAttr{attr(unix.RTA_DST, r.Dst.Addr().AsSlice()), attr32(unix.RTA_OIF, uint32(r.index))}
	if r.Via.IsValid() {
		attrs = append(attrs, attr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	} else if r.Dst.Addr().Is4() {
		msg.Scope = unix.RT_SCOPE_LINK
	}
	if r.MTU != 0 {
		metrics := attr(unix.RTA_METRICS, nil)
		metrics.AddChild(attr32(unix.RTAX_MTU, uint32(r.MTU)))
		attrs = append(attrs, metrics)
	}
	return newChange(op, r.String(), kind, flags, msg, attrs...)
}

// routes lists the main table.
func (c *conn) routes() ([]Route, error) {
	list, err := Complete(func() ([]netlink.Route, error) {
		return c.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, 0)
	})
	if err != nil {
		return nil, opError("list", "routes", err)
	}
	names := make(map[int]string)
	var out []Route
	for _, r := range list {
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		for _, one := range newRoutes(r) {
			if one.Dev, err = c.nameOf(one.index, names); err != nil {
				return nil, err
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// nameOf asks for the name of an interface, once. There may be many that no route leads to, and a list of them begins again
// whenever one comes or goes. Of one that has gone meanwhile the name is empty.
func (c *conn) nameOf(index int, known map[int]string) (string, error) {
	if name, ok := known[index]; ok || index == 0 {
		return name, nil
	}
	l, err := c.askLink(fmt.Sprint("number ", index), index)
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return "", err
	}
	known[index] = l.Name
	return l.Name, nil
}

// newRoutes makes one Route of each next hop, without the name of its interface.
func newRoutes(r netlink.Route) []Route {
	out := Route{ours: r.Protocol == routeProtocol, metric: r.Priority, MTU: r.MTU, src: addrOf(r.Src)}
	out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if r.Family == unix.AF_INET6 {
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	// The library gives the default route as net.IPv4zero, which has sixteen octets; out.Dst is right for that already.
	if bits := 0; r.Dst != nil {
		if bits, _ = r.Dst.Mask.Size(); bits > 0 {
			out.Dst = netip.PrefixFrom(addrOf(r.Dst.IP), bits)
		}
	}
	if len(r.MultiPath) == 0 {
		out.index, out.Via = r.LinkIndex, addrOf(r.Gw)
		return []Route{out}
	}
	var all []Route
	for _, hop := range r.MultiPath {
		one := out
		one.index, one.Via = hop.LinkIndex, addrOf(hop.Gw)
		all = append(all, one)
	}
	return all
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip) // the zero Addr for none, as wanted
	return a
}

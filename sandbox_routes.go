package libcnm

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/link"
)

// The two default routes.
var (
	defaultRoute4 = netip.MustParsePrefix("0.0.0.0/0")
	defaultRoute6 = netip.MustParsePrefix("::/0")
)

// route makes the sandbox's routes and hosts file those of the endpoints that are ready, after the change that begins it.
// Change and consequences are one turn, so that nobody takes the difference for damage. The Handle is one in the sandbox; nil: it
// is opened for this.
func (sb *Sandbox) route(ctx context.Context, h *link.Handle, change func()) error {
	release, err := sb.c.queue.Lock(ctx, sandboxTurn(sb.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	change()
	set := func(h *link.Handle) error {
		want, spare := sb.wantRoutes()
		return h.SetRoutes(ctx, want, spare)
	}
	switch {
	case sb.hostNetNS():
	case h == nil:
		err = sb.inside(set)
	default:
		err = set(h)
	}
	if err != nil {
		return err
	}
	return sb.writeFiles()
}

// routeIfThere is route for an endpoint that leaves, perhaps because the runtime's namespace is gone.
func (sb *Sandbox) routeIfThere(ctx context.Context, change func()) error {
	err := sb.route(ctx, nil, change)
	if err != nil && sb.gone() {
		return nil
	}
	return err
}

// wantRoutes are the routes beyond those to the endpoints' own subnets: one default route per family, by the rule that
// Endpoint.Join documents, and what drivers asked for. Of two endpoints that claim one destination the first has it.
//
// An endpoint that New could not attach may have routes from before, which only its driver can say: they are spared. Its
// default route is, unless that is another's by the rule.
func (sb *Sandbox) wantRoutes() (want []link.Route, spare func(link.Route) bool) {
	list := sb.c.state.of(sb)
	seen := make(map[netip.Prefix]bool)
	add := func(r link.Route) {
		if !seen[r.Dst] {
			seen[r.Dst] = true
			want = append(want, r)
		}
	}
	holders := make(map[netip.Prefix]*attachment)
	for _, dst := range []netip.Prefix{defaultRoute4, defaultRoute6} {
		holder, via := defaultHolder(list, dst)
		if holder != nil {
			holders[dst] = holder
			add(link.Route{Dst: dst, Via: via, Dev: holder.made.Interface})
		}
	}
	for i := range list {
		if !list[i].ready {
			continue
		}
		for _, r := range list[i].made.Routes {
			add(link.Route{Dst: r.Dst, Via: r.Via, Dev: list[i].made.Interface})
		}
	}
	return want, func(r link.Route) bool {
		return slices.ContainsFunc(list, func(a attachment) bool {
			return sb.putOff(&a) && a.ep.Join.Interface == r.Dev && !holders[r.Dst].precedes(&a)
		})
	}
}

// defaultHolder is the endpoint that has the default route of a family, with its first hop; nil: there is none.
func defaultHolder(list []attachment, dst netip.Prefix) (holder *attachment, via netip.Addr) {
	for i := range list {
		gw := list[i].gateway(dst.Addr().Is4())
		if gw.IsValid() && (holder == nil || list[i].precedes(holder)) {
			holder, via = &list[i], gw
		}
	}
	return holder, via
}

// precedes reports whether a, nil being nobody, has the default route if both could.
func (a *attachment) precedes(b *attachment) bool {
	return a != nil && cmp.Or(cmp.Compare(b.ep.Join.Priority, a.ep.Join.Priority), cmp.Compare(a.ep.Join.Slot, b.ep.Join.Slot)) < 0
}

// putOff reports whether New could not attach the endpoint, and nobody since.
func (sb *Sandbox) putOff(a *attachment) bool { return !a.ready && sb.c.state.isPostponed(a.id) }

// gateway returns the attachment's first hop of a family, or the zero Addr.
func (a *attachment) gateway(ipv4 bool) netip.Addr {
	if a.ready && a.made.Interface != "" {
		for _, gw := range a.made.Gateways {
			if gw.Is4() == ipv4 {
				return gw
			}
		}
	}
	return netip.Addr{}
}

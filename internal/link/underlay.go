package link

import (
	"context"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// DefaultRouteAddr returns the address and MTU of the interface that the default route leads to, the IPv4 route rather
// than the IPv6 one: what other nodes most likely reach this host by. Without any it is ErrNotFound.
func (h *Handle) DefaultRouteAddr(ctx context.Context) (addr netip.Addr, mtu int, err error) {
	err = h.use(ctx, func(c *conn) error {
		all, err := c.routes()
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(r Route) bool { return r.Dst.Bits() != 0 })
		slices.SortStableFunc(all, func(a, b Route) int {
			if a4, b4 := a.Dst.Addr().Is4(), b.Dst.Addr().Is4(); a4 != b4 {
				if a4 {
					return -1
				}
				return 1
			}
			return a.metric - b.metric
		})
		for _, r := range all {
			if addr, mtu, err = c.sourceOf(r); err != nil || addr.IsValid() {
				return err
			}
		}
		return classed("find", "the default route's address", errdefs.ErrNotFound, "no default route with an address")
	})
	return addr, mtu, err
}

// sourceOf is the address that packets along r leave with: the zero Addr if its interface has none.
func (c *conn) sourceOf(r Route) (netip.Addr, int, error) {
	found, err := c.LinkByIndex(r.index)
	if err != nil {
		return netip.Addr{}, 0, opError("find interface", r.Dev, err)
	}
	mtu := found.Attrs().MTU
	if r.src.IsValid() {
		return r.src, mtu, nil
	}
	list, err := Complete(func() ([]netlink.Addr, error) { return c.AddrList(found, familyOf(r.Dst.Addr())) })
	if err != nil {
		return netip.Addr{}, 0, opError("list addresses of", r.Dev, err)
	}
	for _, a := range list {
		// A temporary or deprecated address would be gone tomorrow.
		if p, ok := prefixOf(a); ok && a.Scope == unix.RT_SCOPE_UNIVERSE &&
			a.Flags&(unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED|unix.IFA_F_DADFAILED) == 0 {
			return p.Addr(), mtu, nil
		}
	}
	return netip.Addr{}, 0, nil
}

// MTUOf returns the MTU of the interface that has addr, or ErrNotFound.
func (h *Handle) MTUOf(ctx context.Context, addr netip.Addr) (mtu int, err error) {
	err = h.use(ctx, func(c *conn) error {
		list, err := Complete(func() ([]netlink.Addr, error) { return c.AddrList(nil, familyOf(addr)) })
		if err != nil {
			return opError("list", "addresses", err)
		}
		for _, a := range list {
			if p, ok := prefixOf(a); ok && p.Addr() == addr {
				found, err := c.LinkByIndex(a.LinkIndex)
				if err != nil {
					return opError("find interface of", addr.String(), err)
				}
				mtu = found.Attrs().MTU
				return nil
			}
		}
		return classed("find interface of", addr.String(), errdefs.ErrNotFound, "no interface has this address")
	})
	return mtu, err
}

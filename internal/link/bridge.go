package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Bridge is a Linux bridge without spanning tree: its ports forward from the first moment.
type Bridge struct {
	Name  string
	Alias string           // an Owner's text; required
	MAC   net.HardwareAddr // required: without one of its own a bridge takes the lowest of its ports', and changes it with them
	MTU   int              // bytes; 0: the kernel's default
	// Addrs are the host's addresses on the bridge, exactly. Without an IPv6 address the host's IPv6 keeps off the
	// bridge altogether; router advertisements are never listened to.
	Addrs []netip.Prefix
	Down  bool // left administratively down: forwards nothing
}

func (b Bridge) validate() error {
	if err := CheckName(b.Name); err != nil {
		return err
	}
	if _, ok := ParseOwner(b.Alias); !ok {
		return classed("check bridge", b.Name, errdefs.ErrInvalid, "alias %q is no owner mark", b.Alias)
	}
	if b.MAC == nil {
		return classed("check bridge", b.Name, errdefs.ErrInvalid, "no MAC address")
	}
	return errors.Join(checkMAC(b.Name, b.MAC), checkMTU(b.Name, b.MTU), checkAddresses(b.Name, b.Addrs))
}

// EnsureBridge makes the bridge exist as b says. An existing one with b's alias is kept, with its ports, and repaired. A
// namesake that is not ours is ErrConflict and stays as it is.
func (h *Handle) EnsureBridge(ctx context.Context, b Bridge) error {
	if err := b.validate(); err != nil {
		return err
	}
	var l Link
	err := h.use(ctx, func(c *conn) (err error) {
		l, err = c.link(b.Name)
		switch {
		case errors.Is(err, errdefs.ErrNotFound):
			if err := c.changes.apply(b.create()); err != nil {
				return err
			}
			if l, err = c.link(b.Name); err != nil {
				return err
			}
		case err != nil:
			return err
		case !l.carries(b.Alias) || l.Kind != "bridge":
			return notOurs("create bridge", l)
		}
		if _, err := c.setMTU(l, b.MTU); err != nil {
			return err
		}
		if err := h.inside(b.tune); err != nil {
			return err
		}
		// The alias and the addresses do not rest on each other, so they share one system call.
		return c.setAddresses(l, b.Addrs, b.settle(l)...)
	})
	if err != nil || b.Down {
		return err
	}
	return until(ctx, b.Name, func() (bool, error) { return h.listens(ctx, l) })
}

func (b Bridge) create() change {
	info := attr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddChild(attr32(nl.IFLA_BR_FORWARD_DELAY, 0))
	data.AddChild(attr32(nl.IFLA_BR_STP_STATE, 0))
	// Where nobody asks who listens, as on a bridge without a multicast router, the kernel floods multicast whether it snoops or
	// not, but for each port that comes up it starts the timers of all others anew.
	data.AddChild(attr(nl.IFLA_BR_MCAST_SNOOPING, []byte{0}))
	// Without the MTU: one that is changed afterwards stays, where one that a bridge has from the start follows that of its
	// ports, down to where there is no IPv6.
	attrs := append(physical(b.MAC, 0), attrText(unix.IFLA_IFNAME, b.Name), attr32(unix.IFLA_GROUP, groupOf(b.Alias)), info)
	return newChange("create bridge", b.Name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header(0), attrs...)
}

// settle is the change that makes l's own attributes right, if one is needed.
func (b Bridge) settle(l Link) []change {
	var d differences
	d.bridge(b, l)
	if len(d) == 0 {
		return nil
	}
	attrs := append(physical(b.MAC, b.MTU), attr(unix.IFLA_IFALIAS, []byte(b.Alias)))
	return []change{newChange("set up bridge", b.Name, unix.RTM_SETLINK, 0, headerUp(l.Index, !b.Down), attrs...)}
}

// sysctls are the bridge's own, set before it is up. Detecting duplicates would hold up its link-local address for two
// seconds, and with it the neighbour solicitations for what is forwarded to the bridge.
func (b Bridge) sysctls() map[string]string {
	return map[string]string{
		confKey("ipv6", b.Name, "accept_ra"):  "0",
		confKey("ipv6", b.Name, "accept_dad"): "0",
	}
}

// tune acts on the calling thread's namespace.
func (b Bridge) tune() error {
	if err := setIPv6(b.Name, hasFamily6(b.Addrs)); err != nil {
		return err
	}
	err := writeSysctls(b.sysctls())
	if errors.Is(err, errdefs.ErrNotFound) && !hasFamily6(b.Addrs) {
		return nil // no IPv6 to configure
	}
	return err
}

func (d *differences) bridge(b Bridge, l Link) {
	object := "link " + b.Name
	d.text(object+" alias", b.Alias, l.Alias)
	d.text(object+" address", b.MAC.String(), l.MAC.String())
	d.state(object, !b.Down, l.Up)
	if b.MTU != 0 {
		d.number(object+" mtu", b.MTU, l.MTU)
	}
}

// CheckBridge names every way in which the bridge is not as b says. It changes nothing.
func (h *Handle) CheckBridge(ctx context.Context, b Bridge) ([]Difference, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	var d differences
	err := h.use(ctx, func(c *conn) error {
		l, err := c.link(b.Name)
		switch {
		case errors.Is(err, errdefs.ErrNotFound):
			d.add("link "+b.Name, b.Alias, "")
			return nil
		case err != nil:
			return err
		case !l.carries(b.Alias) || l.Kind != "bridge":
			d.add("link "+b.Name, b.Alias, fmt.Sprintf("%s with alias %q", l.Kind, l.Alias))
			return nil
		}
		d.bridge(b, l)
		have, err := c.addresses(l.Index)
		if err != nil {
			return opError("list addresses of", b.Name, err)
		}
		d.addresses(b.Name, have, b.Addrs)
		return h.inside(func() error { return d.bridgeSysctls(b, l.conf.noIPv6) })
	})
	return d, err
}

func (d *differences) bridgeSysctls(b Bridge, off bool) error {
	if off == hasFamily6(b.Addrs) {
		d.text("link "+b.Name+" IPv6", onOff(!off), onOff(off))
	}
	if off {
		return nil // the rest does not matter, and may not exist
	}
	return d.sysctls(b.sysctls())
}

func onOff(off bool) string {
	if off {
		return "disabled"
	}
	return "enabled"
}

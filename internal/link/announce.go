package link

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Announce tells the segment that the interface now has addrs, so that nobody goes on using what he remembers of an
// earlier owner: once a gratuitous ARP request for each of the interface's IPv4 addresses if addrs has any, and an
// unsolicited neighbour advertisement for each IPv6 address if addrs has any. The interface must be able to carry
// packets, see WaitUp. It forgets the neighbours it knows.
//
// The kernel does it, when it is told the interface's own MAC address once more. Sending the frames here would need a
// packet socket, and closing one waits for RCU: 10 to 20 ms, most of what a Join takes.
func (h *Handle) Announce(ctx context.Context, name string, addrs []netip.Addr) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return h.use(ctx, func(c *conn) error {
		l, err := c.link(name)
		if err != nil || len(addrs) == 0 {
			return err
		}
		if len(l.MAC) != 6 {
			return classed("announce on", name, errdefs.ErrUnsupported, "not an Ethernet interface")
		}
		again := newChange("announce on", name, unix.RTM_SETLINK, 0, header(l.Index), attr(unix.IFLA_ADDRESS, l.MAC))
		changes := []change{again}
		return h.inside(func() error {
			if slices.ContainsFunc(addrs, netip.Addr.Is4) {
				changes = []change{setARPNotify(l, 1), again, setARPNotify(l, l.conf.arpNotify)}
			}
			announce := func() error {
				if err := c.changes.apply(changes...); err != nil {
					return err
				}
				return c.changes.apply(setAnnounced(l, addrs)...)
			}
			if !slices.ContainsFunc(addrs, netip.Addr.Is6) {
				return announce()
			}
			return withSysctl(confKey("ipv6", name, "ndisc_notify"), "1", announce)
		})
	})
}

// withSysctl runs fn while key has value, and gives it back what it had.
func withSysctl(key, value string, fn func() error) error {
	was, err := readSysctl(key)
	if err != nil {
		return err
	}
	if err := writeSysctl(key, value); err != nil {
		return err
	}
	return errors.Join(fn(), writeSysctl(key, was))
}

// setARPNotify sets the sysctl arp_notify. Rtnetlink has it too, unlike those of IPv6: a file below /proc/sys/net takes the
// longer to open the more network namespaces there are.
func setARPNotify(l Link, value uint32) change {
	spec := attr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(inetConf, nil)
	conf.AddRtAttr(devconfARPNotify, nl.Uint32Attr(value))
	return newChange("set arp_notify of", l.Name, unix.RTM_SETLINK, 0, header(l.Index), spec)
}

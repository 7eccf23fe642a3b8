package link

import (
	"context"
	"errors"
	"net/netip"
	"slices"

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
		return h.inside(func() error {
			return withSysctls(notifying(name, addrs), func() error { return c.changes.apply(again) })
		})
	})
}

// notifying are the sysctls that let the kernel announce the families of addrs.
func notifying(name string, addrs []netip.Addr) []string {
	var keys []string
	if slices.ContainsFunc(addrs, netip.Addr.Is4) {
		keys = append(keys, confKey("ipv4", name, "arp_notify"))
	}
	if slices.ContainsFunc(addrs, netip.Addr.Is6) {
		keys = append(keys, confKey("ipv6", name, "ndisc_notify"))
	}
	return keys
}

// withSysctls runs fn while the keys are 1, and gives them back the values that they had.
func withSysctls(keys []string, fn func() error) error {
	if len(keys) == 0 {
		return fn()
	}
	key := keys[0]
	have, err := readSysctl(key)
	if err != nil {
		return err
	}
	if err := writeSysctl(key, "1"); err != nil {
		return err
	}
	return errors.Join(withSysctls(keys[1:], fn), writeSysctl(key, have))
}

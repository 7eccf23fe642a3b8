package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// addresses returns what l has, without IPv6 link-local addresses: those are the kernel's own affair.
func (c *conn) addresses(index int) ([]netip.Prefix, error) {
	out, err := Complete(func() (list []netip.Prefix, err error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETADDR, 0)
		request.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		err = c.changes.dump(request, func(message []byte) error {
			if family := familyOfMessage(message); family != unix.AF_INET && family != unix.AF_INET6 {
				return nil
			}
			at, p, err := parseAddress(message)
			if err == nil && at == index && !kernels(p.Addr()) {
				list = append(list, p)
			}
			return err
		})
		return list, err
	})
	slices.SortFunc(out, comparePrefix)
	return out, err
}

// familyOfMessage is the family of an address message; 0: it is too short to have one.
func familyOfMessage(raw []byte) uint8 {
	if len(raw) == 0 {
		return unix.AF_UNSPEC
	}
	return raw[0]
}

// parseAddress reads an address message: an ifaddrmsg and attributes. Of a point-to-point interface the prefix is the other
// end's, and its own address stands alone.
func parseAddress(raw []byte) (index int, p netip.Prefix, err error) {
	if len(raw) < unix.SizeofIfAddrmsg {
		return 0, netip.Prefix{}, unix.EBADMSG
	}
	attrs := raw[unix.SizeofIfAddrmsg:]
	address, err := findAttribute(attrs, unix.IFA_ADDRESS)
	local, errLocal := findAttribute(attrs, unix.IFA_LOCAL)
	if err := errors.Join(err, errLocal); err != nil {
		return 0, netip.Prefix{}, err
	}
	bits := int(raw[1])
	switch {
	case local == nil:
		local = address
	case address != nil && !bytes.Equal(local, address):
		bits = 8 * len(local)
	}
	ip, ok := netip.AddrFromSlice(local)
	if !ok {
		return 0, netip.Prefix{}, unix.EBADMSG
	}
	return int(binary.NativeEndian.Uint32(raw[4:])), netip.PrefixFrom(ip, bits), nil
}

// kernels reports whether the kernel gives and takes such addresses by itself. Those of IPv4 169.254.0.0/16 it does not.
func kernels(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

func prefixOf(a netlink.Addr) (netip.Prefix, bool) {
	if a.IPNet == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(ip, bits), ok
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// setAddresses gives the interface exactly want, and brings it up in the same system call if up. New addresses come before
// old ones go. It is safe to repeat.
func (c *conn) setAddresses(l Link, want []netip.Prefix, first ...change) error {
	// Asked again after a removal: that of an IPv4 address takes the others of its subnet with it if it was the first,
	// and IPv6 has an address only once, so that a new prefix length waits until the old one is gone.
	const rounds = 3
	for range rounds {
		have, err := c.addresses(l.Index)
		if err != nil {
			return opError("list addresses of", l.Name, err)
		}
		add, remove := addressDiff(have, want)
		changes := first
		first = nil
		if len(add)+len(remove) > 0 {
			changes = append(changes, unannounced(l)...)
		}
		for _, p := range add {
			changes = append(changes, addAddress(l, p))
		}
		if err := c.changes.apply(changes...); err != nil {
			return err
		}
		if len(remove) == 0 {
			return nil
		}
		changes = nil
		for _, p := range remove {
			changes = append(changes, deleteAddress(l, p))
		}
		if err := c.changes.apply(changes...); err != nil {
			return err
		}
	}
	return classed("set addresses of", l.Name, errdefs.ErrConflict, "somebody else is changing them")
}

// addressDiff says what to add, in the order of want, and what to remove.
func addressDiff(have, want []netip.Prefix) (add, remove []netip.Prefix) {
	for _, p := range want {
		if !slices.Contains(have, p) && !slices.Contains(add, p) {
			add = append(add, p)
		}
	}
	for _, p := range have {
		if !slices.Contains(want, p) {
			remove = append(remove, p)
		}
	}
	return add, remove
}

func addAddress(l Link, p netip.Prefix) change {
	return addressChange("add address", unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, l, p)
}

func deleteAddress(l Link, p netip.Prefix) change {
	c := addressChange("remove address", unix.RTM_DELADDR, 0, l, p)
	c.absentOK = true
	return c
}

func addressChange(op string, kind, flags int, l Link, p netip.Prefix) change {
	msg := nl.NewIfAddrmsg(familyOf(p.Addr()))
	msg.Index = uint32(l.Index)
	msg.Prefixlen = uint8(p.Bits())
	ip := p.Addr().AsSlice()
	attrs := []*nl.RtAttr{attr(unix.IFA_LOCAL, ip), attr(unix.IFA_ADDRESS, ip)}
	if p.Addr().Is6() {
		// The controller gives an address once; detecting duplicates would cost a second or two.
		msg.IfAddrmsg.Flags = unix.IFA_F_NODAD
	} else if p.Bits() < 31 { // RFC 3021: shorter ones have a broadcast address
		attrs = append(attrs, attr(unix.IFA_BROADCAST, lastOf(p).AsSlice()))
	}
	return newChange(op, fmt.Sprintf("%s on %s", p, l.Name), kind, flags, msg, attrs...)
}

// lastOf is the highest IPv4 address of p.
func lastOf(p netip.Prefix) netip.Addr {
	ip := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		ip[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(ip)
}

func checkAddresses(name string, addrs []netip.Prefix) error {
	for _, p := range addrs {
		ip := p.Addr()
		if !p.IsValid() || ip.Is4In6() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() || kernels(ip) {
			return classed("check addresses of", name, errdefs.ErrInvalid, "%q is no address for an interface", p)
		}
	}
	return nil
}

func hasFamily6(addrs []netip.Prefix) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// addresses names every missing and every surplus address.
func (d *differences) addresses(name string, have, want []netip.Prefix) {
	add, remove := addressDiff(have, want)
	for _, p := range add {
		d.add(fmt.Sprintf("address %s on %s", p, name), "present", "")
	}
	for _, p := range remove {
		d.add(fmt.Sprintf("address %s on %s", p, name), "", "present")
	}
}

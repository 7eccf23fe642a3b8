package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parseLink reads a link message in place. The library makes a value of each of its sixty attributes, which is most of the
// memory that an endpoint needs to come up.
func parseLink(raw []byte) (Link, error) {
	if len(raw) < unix.SizeofIfInfomsg {
		return Link{}, unix.EBADMSG
	}
	l := Link{
		Index: int(int32(binary.NativeEndian.Uint32(raw[4:]))), Up: binary.NativeEndian.Uint32(raw[8:])&unix.IFF_UP != 0,
		Kind: "device", peerNS: -1,
	}
	attrs := raw[unix.SizeofIfInfomsg:]
	for left := attrs; len(left) > 0; {
		kind, value, rest, err := nextAttribute(left)
		if err != nil {
			return Link{}, err
		}
		left = rest
		if err := l.read(kind, value); err != nil {
			return Link{}, err
		}
	}
	if raw[0] == unix.AF_BRIDGE { // one about a port, in which the same attributes mean other things
		return l, nil
	}
	var err error
	l.conf, err = newLinkConf(attrs)
	return l, err
}

// read takes over one attribute, if it is of use here.
func (l *Link) read(kind uint16, value []byte) error {
	number := func() (n int) {
		if len(value) >= 4 {
			n = int(int32(binary.NativeEndian.Uint32(value)))
		}
		return n
	}
	switch kind {
	case unix.IFLA_IFNAME:
		l.Name = text(value)
	case unix.IFLA_IFALIAS:
		l.Alias = text(value)
	case unix.IFLA_MTU:
		l.MTU = number()
	case unix.IFLA_ADDRESS:
		if slices.ContainsFunc(value, func(b byte) bool { return b != 0 }) { // a loopback's is zero: it has none
			l.MAC = slices.Clone(value)
		}
	case unix.IFLA_MASTER:
		l.Master = number()
	case unix.IFLA_GROUP:
		l.group = uint32(number())
	case unix.IFLA_LINK:
		l.peer = number()
	case unix.IFLA_LINK_NETNSID:
		l.peerNS = number()
	case unix.IFLA_OPERSTATE:
		if len(value) > 0 {
			l.oper = netlink.LinkOperState(value[0])
		}
	case unix.IFLA_LINKINFO:
		name, err := findAttribute(value, nl.IFLA_INFO_KIND)
		if name != nil {
			l.Kind = text(name)
		}
		return err
	}
	return nil
}

// text is a string attribute without the zero byte at its end, which not all have.
func text(value []byte) string { return string(bytes.TrimRight(value, "\x00")) }

// nextAttribute cuts off the first of several attributes.
func nextAttribute(data []byte) (kind uint16, value, rest []byte, err error) {
	if len(data) < unix.SizeofRtAttr {
		return 0, nil, nil, unix.EBADMSG
	}
	size := int(binary.NativeEndian.Uint16(data))
	if size < unix.SizeofRtAttr || size > len(data) {
		return 0, nil, nil, unix.EBADMSG
	}
	kind = binary.NativeEndian.Uint16(data[2:]) &^ unix.NLA_F_NESTED
	aligned := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
	return kind, data[unix.SizeofRtAttr:size], data[min(aligned, len(data)):], nil
}

// linkConf is what a link message tells of settings that have files too. To read the files takes the longer the more
// network namespaces there are with interfaces of one name, as every sandbox has.
type linkConf struct {
	arpNotify uint32
	// noIPv6: IPv6 is disabled, or the interface is without it: the kernel takes it away from one whose MTU falls below
	// 1280, and gives it back when the MTU rises again.
	noIPv6 bool
	groups uint16 // forwarded by the bridge that it is a port of
	v6     inet6Settings
}

// Of linux/if_link.h, linux/ip.h and linux/ipv6.h, where x/sys/unix has no names.
const (
	inetConf         = 1  // IFLA_INET_CONF
	inet6Conf        = 2  // IFLA_INET6_CONF
	devconfARPNotify = 22 // IPV4_DEVCONF_ARP_NOTIFY, which counts from 1
)

func newLinkConf(attrs []byte) (linkConf, error) {
	v4, err4 := attribute(attrs, unix.IFLA_AF_SPEC, unix.AF_INET, inetConf)
	v6, err6 := attribute(attrs, unix.IFLA_AF_SPEC, unix.AF_INET6, inet6Conf)
	port, errPort := attribute(attrs, unix.IFLA_LINKINFO, nl.IFLA_INFO_SLAVE_DATA, nl.IFLA_BRPORT_GROUP_FWD_MASK)
	var c linkConf
	if len(v4) >= 4*devconfARPNotify {
		c.arpNotify = binary.NativeEndian.Uint32(v4[4*(devconfARPNotify-1):])
	}
	c.v6 = newInet6Settings(v6)
	c.noIPv6 = !c.v6.told || c.v6.values[disableIPv6] != 0
	if len(port) >= 2 {
		c.groups = binary.NativeEndian.Uint16(port)
	}
	return c, errors.Join(err4, err6, errPort)
}

// attribute finds an attribute in nested ones by the path to it; nil: there is none.
func attribute(data []byte, path ...uint16) (_ []byte, err error) {
	for _, kind := range path {
		if data, err = findAttribute(data, kind); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// findAttribute finds the last attribute of a kind; nil: there is none.
func findAttribute(data []byte, kind uint16) (found []byte, err error) {
	for len(data) >= unix.SizeofRtAttr {
		var at uint16
		var value []byte
		if at, value, data, err = nextAttribute(data); err != nil {
			return nil, err
		}
		if at == kind {
			found = value
		}
	}
	return found, nil
}

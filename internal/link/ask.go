package link

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// link asks for one link. The kernel also answers to alternative names; those are not the link's name.
func (c *conn) link(name string) (Link, error) {
	return c.askLink(name, 0, attrText(unix.IFLA_IFNAME, name))
}

// otherEnd asks for the other end of a veth, in whatever namespace it is; name is for the error.
func (c *conn) otherEnd(l Link, name string) (Link, error) {
	if l.peerNS < 0 {
		return c.askLink(name, l.peer)
	}
	return c.askLink(name, l.peer, attr32(unix.IFLA_TARGET_NETNSID, uint32(l.peerNS)))
}

func (c *conn) askLink(name string, index int, attrs ...*nl.RtAttr) (Link, error) {
	const op = "find interface"
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	request.AddData(header(index))
	for _, a := range attrs {
		request.AddData(a)
	}
	raw, err := c.changes.ask(request)
	if errors.Is(err, unix.ENODEV) {
		return Link{}, classed(op, name, errdefs.ErrNotFound, "no such interface")
	}
	if err != nil {
		return Link{}, opError(op, name, err)
	}
	found, err := netlink.LinkDeserialize(nil, raw)
	if err != nil {
		return Link{}, opError(op, name, err)
	}
	l := newLink(found)
	if index == 0 && l.Name != name {
		return Link{}, classed(op, name, errdefs.ErrConflict, "it is an alternative name of %s", l.Name)
	}
	l.conf, err = newLinkConf(raw)
	return l, opError(op, name, err)
}

// ask sends a question that has one answer, and returns that without its header.
func (s *changeSocket) ask(request *nl.NetlinkRequest) ([]byte, error) {
	if err := unix.Sendto(s.fd, request.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	for {
		answers, err := s.receive()
		if err != nil {
			return nil, err
		}
		for _, answer := range answers {
			switch {
			case answer.Header.Seq != request.Seq: // to a question that was given up
			case answer.Header.Type != unix.NLMSG_ERROR:
				return answer.Data, nil
			case len(answer.Data) < unix.SizeofNlMsgerr:
				return nil, unix.EBADMSG
			default:
				return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(answer.Data)))
			}
		}
	}
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

func newLinkConf(raw []byte) (linkConf, error) {
	if len(raw) < unix.SizeofIfInfomsg {
		return linkConf{}, unix.EBADMSG
	}
	attrs := raw[unix.SizeofIfInfomsg:]
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

// findAttribute makes no list of all attributes: a link message has more than sixty, and one is asked for at each look at an
// endpoint.
func findAttribute(data []byte, kind uint16) (value []byte, err error) {
	for len(data) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(data))
		if size < unix.SizeofRtAttr || size > len(data) {
			return nil, unix.EBADMSG
		}
		if binary.NativeEndian.Uint16(data[2:])&^unix.NLA_F_NESTED == kind {
			value = data[unix.SizeofRtAttr:size]
		}
		aligned := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		data = data[min(aligned, len(data)):]
	}
	return value, nil
}

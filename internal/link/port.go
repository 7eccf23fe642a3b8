package link

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// forwardGroups is the part of a request to an existing port of a bridge that sets its mask of link-local groups. Only
// RTM_NEWLINK takes it.
func forwardGroups(mask uint16) *nl.RtAttr {
	info := attr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_SLAVE_DATA, nil).AddRtAttr(nl.IFLA_BRPORT_GROUP_FWD_MASK, nl.Uint16Attr(mask))
	return info
}

// groupsForwarded reads a port's mask, in the calling thread's namespace. An interface that is no port of a bridge
// has 0.
func groupsForwarded(l Link) (uint16, error) {
	const op = "read groups forwarded by"
	if l.Master == 0 {
		return 0, nil
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	request.AddData(header(l.Index))
	answer, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err == nil && (len(answer) != 1 || len(answer[0]) < unix.SizeofIfInfomsg) {
		err = unix.EBADMSG
	}
	if err != nil {
		return 0, opError(op, l.Name, err)
	}
	value, err := attribute(answer[0][unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO, nl.IFLA_INFO_SLAVE_DATA, nl.IFLA_BRPORT_GROUP_FWD_MASK)
	if err != nil || len(value) < 2 {
		return 0, opError(op, l.Name, err)
	}
	return binary.NativeEndian.Uint16(value), nil
}

// attribute finds an attribute in nested ones by the path to it; nil: there is none.
func attribute(data []byte, path ...uint16) ([]byte, error) {
	for _, kind := range path {
		attrs, err := nl.ParseRouteAttr(data)
		if err != nil {
			return nil, err
		}
		data = nil
		for _, a := range attrs {
			if a.Attr.Type&^unix.NLA_F_NESTED == kind {
				data = a.Value
			}
		}
	}
	return data, nil
}

func maskText(mask uint16) string { return fmt.Sprintf("%#x", mask) }

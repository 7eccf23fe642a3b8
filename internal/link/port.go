package link

import (
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

func maskText(mask uint16) string { return fmt.Sprintf("%#x", mask) }

package link

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// announcedPrefix begins the alias of an interface that the segment has been told of. It is no owner mark.
const announcedPrefix = "libcnm-announced-"

// AnnounceOnce is Announce unless it was done before for this interface, with this MAC address and these addresses, and
// nobody has had to set an address since. A controller that starts need not tell every neighbour of every endpoint what has
// not changed: on a bridge that is a packet for each pair of its ports.
//
// The interface carries the proof, and gets it after the announcement: whoever finds it without, as after a death in
// between, announces again.
func (h *Handle) AnnounceOnce(ctx context.Context, name string, addrs []netip.Addr) error {
	if err := CheckName(name); err != nil {
		return err
	}
	var done bool
	err := h.use(ctx, func(c *conn) error {
		l, err := c.link(name)
		done = err == nil && l.Alias == announcedMark(l, addrs)
		return err
	})
	if err != nil || done {
		return err
	}
	return h.Announce(ctx, name, addrs)
}

func announcedMark(l Link, addrs []netip.Addr) string {
	ids := []string{l.MAC.String()}
	for _, a := range addrs {
		ids = append(ids, a.String())
	}
	return HashName(announcedPrefix, 16, ids...)
}

func (l Link) announced() bool { return strings.HasPrefix(l.Alias, announcedPrefix) }

// setAnnounced leaves an alias alone that is somebody else's.
func setAnnounced(l Link, addrs []netip.Addr) []change {
	if l.Alias != "" && !l.announced() {
		return nil
	}
	mark := []byte(announcedMark(l, addrs))
	return []change{newChange("note announcement on", l.Name, unix.RTM_SETLINK, 0, header(l.Index), attr(unix.IFLA_IFALIAS, mark))}
}

// unannounced is what must come with the first change of addresses.
func unannounced(l Link) []change {
	if !l.announced() {
		return nil
	}
	return []change{newChange("forget announcement on", l.Name, unix.RTM_SETLINK, 0, header(l.Index), attr(unix.IFLA_IFALIAS, nil))}
}

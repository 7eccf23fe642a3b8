package link

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Link is what the kernel says of one interface.
type Link struct {
	Name   string
	Index  int
	Kind   string // "veth", "bridge", "device", ...
	Alias  string
	MTU    int // bytes
	MAC    net.HardwareAddr
	Up     bool // administratively
	Master int  // index of the bridge it is a port of; 0: none

	group  uint32
	peer   int // index of a veth's other end
	peerNS int // the kernel's number for the other end's namespace; -1: this one
	oper   netlink.LinkOperState
	conf   linkConf
}

// carries reports whether the link is marked with alias, or is the unfinished work of a process that was about to.
func (l Link) carries(alias string) bool {
	return alias != "" && (l.Alias == alias || l.unfinished(alias))
}

// unfinished reports that the link was made by the driver of mark and did not get its alias.
func (l Link) unfinished(mark string) bool {
	return l.Alias == "" && l.group != 0 && l.group == groupOf(mark)
}

func (c *conn) links() ([]Link, error) {
	list, err := Complete(c.linkList)
	return list, opError("list", "interfaces", err)
}

// linksSoon lists all but some, perhaps: while endpoints come and go all the time no list is ever whole, because one of 1,000
// interfaces takes the kernel 20 ms.
func (c *conn) linksSoon() ([]Link, error) {
	list, err := c.linkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return list, opError("list", "interfaces", err)
}

func (c *conn) linkList() ([]Link, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	request.AddData(header(0))
	request.AddData(attr32(unix.IFLA_EXT_MASK, skipStatistics))
	var list []Link
	err := c.changes.dump(request, func(message []byte) error {
		l, err := parseLink(message)
		list = append(list, l)
		return err
	})
	return list, err
}

// Link returns the interface called name, or ErrNotFound.
func (h *Handle) Link(ctx context.Context, name string) (l Link, err error) {
	if err := CheckName(name); err != nil {
		return Link{}, err
	}
	err = h.use(ctx, func(c *conn) error {
		l, err = c.link(name)
		return err
	})
	return l, err
}

// Owned returns the links whose alias begins with mark, as DriverMark or an Owner's text gives it, ordered by name.
// For a DriverMark it includes links that got no alias because the process that made them died.
func (h *Handle) Owned(ctx context.Context, mark string) ([]Link, error) {
	return h.owned(ctx, mark, (*conn).links)
}

// OwnedSoon is Owned for looks that are repeated: where links come and go all the time it does not wait for a pause, and may
// lack some.
func (h *Handle) OwnedSoon(ctx context.Context, mark string) ([]Link, error) {
	return h.owned(ctx, mark, (*conn).linksSoon)
}

func (h *Handle) owned(ctx context.Context, mark string, list func(*conn) ([]Link, error)) ([]Link, error) {
	var owned []Link
	err := h.use(ctx, func(c *conn) error {
		all, err := list(c)
		for _, l := range all {
			if strings.HasPrefix(l.Alias, mark) && l.Alias != "" || isDriverMark(mark) && l.unfinished(mark) {
				owned = append(owned, l)
			}
		}
		return err
	})
	slices.SortFunc(owned, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return owned, err
}

// notOurs is the answer to a namesake.
func notOurs(op string, l Link) error {
	return classed(op, l.Name, errdefs.ErrConflict, "there is another %s of that name, with alias %q", l.Kind, l.Alias)
}

// Complete repeats a question whose answer the kernel marked as inconsistent because something changed meanwhile. Whoever lists
// links, addresses, routes or rules of a namespace that others change too must ask through it.
func Complete[T any](ask func() (T, error)) (T, error) {
	const attempts = 20
	for n := 1; ; n++ {
		answer, err := ask()
		if n == attempts || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return answer, err
		}
	}
}

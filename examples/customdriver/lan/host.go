package lan

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
)

// links lists the interfaces of the host. The kernel says when a list changed while it was read; then it is read again.
func links(ctx context.Context) ([]netlink.Link, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list, err := netlink.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		return list, nil
	}
}

// link finds an interface; nil when there is none.
func link(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return l, nil
}

// owned finds the link of that name and mark, or one whose maker died before it wrote the mark. One with the name that is
// somebody else's is ErrConflict. Nil: absent.
func owned(name string, want mark) (netlink.Link, error) {
	l, err := link(name)
	if l == nil || err != nil {
		return nil, err
	}
	if m, ours := markOf(l); !ours || m != want && m != (mark{}) {
		return nil, fmt.Errorf("link %s: belongs to somebody else: %w", name, drivers.ErrConflict)
	}
	return l, nil
}

// remove deletes a link; one that is gone already is fine.
func remove(l netlink.Link) error {
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, syscall.ENODEV) && !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// deleteOwned deletes one link unless it is somebody else's.
func deleteOwned(name string, want mark) error {
	l, err := owned(name, want)
	if errors.Is(err, drivers.ErrConflict) {
		return nil // a namesake: ours is absent
	}
	if l == nil || err != nil {
		return err
	}
	return remove(l)
}

// deleteMatching deletes the driver's links that match.
func deleteMatching(ctx context.Context, match func(mark, *netlink.LinkAttrs) bool) error {
	list, err := links(ctx)
	if err != nil {
		return err
	}
	for _, l := range list {
		if m, ours := markOf(l); !ours || !match(m, l.Attrs()) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := remove(l); err != nil {
			return err
		}
	}
	return nil
}

package link

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Change is a sign that something in the namespace is not as it was.
type Change struct {
	Name  string // interface; empty: not known, or notices were lost. Look at everything.
	Alias string
	Gone  bool // the interface does not exist any more
	Up    bool // administratively
	Port  bool // of a bridge
}

// Damaged reports whether the change may be damage to a link that its Owner marks: it is gone, or it is an endpoint's or
// a network's and down, or an endpoint's in no bridge. They get their marks when they are complete.
func (c Change) Damaged() bool {
	o, ours := ParseOwner(c.Alias)
	return ours && (c.Gone || o.Network != "" && !c.Up || o.Endpoint != "" && !c.Port)
}

// Watch begins to listen for changes of links, and of addresses, before it returns, so that a state read afterwards and
// the changes together miss nothing. The sequence is for one use and ends with ctx: its last element carries ctx's
// error, or the one that broke the watch. When more happens than the reader keeps up with, notices are lost and the
// next Change is empty.
func (h *Handle) Watch(ctx context.Context) (iter.Seq2[Change, error], error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("watch interfaces: %w", err)
	}
	var socket *nl.NetlinkSocket
	err := h.inside(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		return err
	})
	if err != nil {
		return nil, opError("watch", "interfaces", err)
	}
	// The end of ctx is what closes the socket, whether anybody reads or not, and it ends a Receive that waits.
	release := context.AfterFunc(ctx, socket.Close)
	return func(yield func(Change, error) bool) {
		defer func() {
			if release() {
				socket.Close()
			}
		}()
		for {
			messages, from, err := socket.Receive()
			switch {
			case ctx.Err() != nil:
				yield(Change{}, fmt.Errorf("watch interfaces: %w", ctx.Err()))
				return
			case errors.Is(err, unix.ENOBUFS):
				if !yield(Change{}, nil) {
					return
				}
				continue
			case err != nil:
				yield(Change{}, opError("watch", "interfaces", err))
				return
			case from.Pid != nl.PidKernel:
				continue
			}
			for _, m := range messages {
				if !yield(newChangeNotice(m), nil) {
					return
				}
			}
		}
	}, nil
}

// newChangeNotice reads a message about a link. One about an address names its interface by index only; the reader
// looks at everything.
func newChangeNotice(m syscall.NetlinkMessage) Change {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
		return Change{}
	}
	l, err := parseLink(m.Data)
	if err != nil {
		return Change{} // something changed; what it was must be asked
	}
	return Change{Name: l.Name, Alias: l.Alias, Gone: m.Header.Type == unix.RTM_DELLINK, Up: l.Up, Port: l.Master != 0}
}

package link

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// upWithin bounds WaitUp. The kernel needs milliseconds, but it leaves the work to threads that get their turn late where
// more wants to run than there are CPUs: 2 s were not always enough on two with a load of 20.
const upWithin = 10 * time.Second

// WaitUp waits until the interface can carry packets: it is up and has a carrier, and so has the other end of a veth, and
// it listens for neighbours that ask for its IPv6 addresses. The kernel does all three some time after it has been told
// to, and drops what comes before. The first ARP request or neighbour solicitation lost that way costs a second.
// ErrUnavailable after ten seconds.
func (h *Handle) WaitUp(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return until(ctx, name, func() (bool, error) {
		var l Link
		up := false
		err := h.use(ctx, func(c *conn) (err error) {
			if l, err = c.link(name); err != nil || l.oper != netlink.OperUp {
				return err
			}
			up, err = c.otherEndUp(l)
			return err
		})
		if err != nil || !up || l.conf.noIPv6 {
			return up, err
		}
		return h.listens(ctx, l)
	})
}

// otherEndUp reports whether a veth's other end is operational. Since Linux 6.8 the question itself makes the kernel notice
// a carrier. Anything but a veth has no other end, and counts as up.
func (c *conn) otherEndUp(l Link) (bool, error) {
	if l.Kind != "veth" {
		return true, nil
	}
	other, err := c.otherEnd(l, "other end of "+l.Name)
	return other.oper == netlink.OperUp, err
}

// until asks again and again, because there is nothing to wait on that tells of all these things. It ends in time.
func until(ctx context.Context, name string, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upWithin,
		classed("wait for", name, errdefs.ErrUnavailable, "not operational after %s", upWithin))
	defer cancel()
	pause := time.Millisecond / 4
	for {
		ok, err := ready()
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		case <-timer.C:
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// listens reports whether the interface is in the solicited-node multicast group (RFC 4291, section 2.7.1) of each of its
// IPv6 addresses. The kernel joins it from a work queue.
func (h *Handle) listens(ctx context.Context, l Link) (bool, error) {
	var addrs []netip.Prefix
	err := h.use(ctx, func(c *conn) (err error) {
		addrs, err = c.addresses(l.Index)
		return opError("list addresses of", l.Name, err)
	})
	if err != nil || !hasFamily6(addrs) {
		return err == nil, err
	}
	joined := map[string]bool{}
	err = h.inside(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/igmp6")
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == strconv.Itoa(l.Index) {
				joined[f[2]] = true
			}
		}
		return opError("list multicast groups of", l.Name, err)
	})
	for _, p := range addrs {
		if p.Addr().Is6() && !joined[solicitedNode(p.Addr())] {
			return false, err
		}
	}
	return err == nil, err
}

// solicitedNode is a's group as /proc writes it.
func solicitedNode(a netip.Addr) string {
	ip := a.As16()
	return "ff0200000000000000000001ff" + hex.EncodeToString(ip[13:])
}
